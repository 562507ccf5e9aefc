"""What a limit costs: charges over three buckets a second, beside plain PINGs over the same connections.

    python -m bench.limits [--processes 4] [--rounds 5]

Against REDIS_URL, or a Valkey of its own. A PING is the least that a question to Redis can cost, so the ratio
says how much of a charge is the script and not the way there and back.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.synchronize import Barrier
from pathlib import Path

from core.limits.rate import SECOND, Rate
from core.limits.rate_limit import Bucket, RateLimiter
from core.stores.redis import Redis
from tests.support.valkey import Valkey

ROUND = 1.0
"""Seconds."""
NEVER_EMPTY = Rate(1_000_000, SECOND, 1_000_000)
SUBJECTS = 10_000
"""Clients that take turns, so that keys come and go as they do in use."""


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with redis_url() as url:
        charges, pings = measure(url, options.processes, options.rounds)
    print(f"{options.processes} processes, {options.rounds} rounds of {ROUND:.0f} s each, medians")
    print(f"charge over 3 buckets  {charges:>9,.0f} /s")
    print(f"PING                   {pings:>9,.0f} /s")
    print(f"ratio                  {charges / pings:>9.2f}")


def measure(url: str, processes: int, rounds: int) -> tuple[float, float]:
    """Charges and PINGs a second, all processes together, measured by turns."""
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(processes), context.SimpleQueue()
    workers = [context.Process(target=_work, args=(url, rounds, start, done.put)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    told = [done.get() for _ in workers]
    for worker in workers:
        worker.join()
    by_round = [[sum(process[turn][kind] for process in told) for turn in range(rounds)] for kind in (0, 1)]
    charges, pings = (statistics.median(totals) / ROUND for totals in by_round)
    return charges, pings


def _work(url: str, rounds: int, start: Barrier, done: Callable[[list[tuple[int, int]]], None]) -> None:
    redis = Redis.from_url(url, decode_responses=True)
    limiter = RateLimiter(redis)
    numbers = count(os.getpid())

    def charge() -> None:
        client = next(numbers) % SUBJECTS
        limiter.require([Bucket(policy, f"{policy} {client}", NEVER_EMPTY) for policy in ("one", "two", "three")])

    done([(_in_a_round(charge, start), _in_a_round(redis.ping, start)) for _ in range(rounds)])


def _in_a_round(call: Callable[[], object], start: Barrier) -> int:
    call()  # the first one loads the script
    start.wait()
    end, calls = time.perf_counter() + ROUND, 0
    while time.perf_counter() < end:
        call()
        calls += 1
    return calls


@contextmanager
def redis_url() -> Iterator[str]:
    """The configured Redis, or one for as long as the block lasts."""
    if "REDIS_URL" in os.environ:
        yield os.environ["REDIS_URL"]
        return
    directory = Path(tempfile.mkdtemp(prefix="sb-bench-"))
    server = Valkey(directory)
    yield server.url
    server.stop()
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
