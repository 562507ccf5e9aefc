"""How long an event takes from its append to its readers, and what a reader costs.

    python -m bench.streams --readers 1000 --sessions 1000 --rate 1000 --seconds 10 --stock

A real Valkey, gunicorn with the real application, the readers and the appender are processes of their own on this
machine's loopback. With --stock the same for flask-sse's own blueprint, and the ratio of the two. With --reconnect
all readers lose their streams and come back at once, while --others stay and go on being sent events.
"""

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from bench import appender, readers, reconnect
from bench.child import Child, child
from bench.servers import Server, flask_sse, switchboard
from core.conversation.keys import channel
from core.stores.redis import Redis
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

SPARE_FILES = 500
"""Descriptors that a process needs beside its readers'."""
ARRIVAL = 10.0
"""Seconds that the last events may take."""
SETTLE = 8.0
"""Seconds between the last reader's arrival and the first event: what is measured is readers that are open, and ten
thousand that have just come still read their logs for some seconds."""
HEADINGS = "             p50 ms  p90 ms  p99 ms  max ms  web CPU  kB/reader  Redis connections  arrived"

Serving = Callable[[Path, Valkey, int], AbstractContextManager[Server]]


@dataclass(frozen=True)
class Load:
    """What is asked for."""

    readers: int
    sessions: int
    rate: float
    seconds: float
    rounds: int

    @property
    def deliveries(self) -> int:
        """How many events all readers together must receive in a round."""
        events = int(self.rate * self.seconds)
        rounds, rest = divmod(self.readers, self.sessions)
        # Events go round the sessions, and the first `rest` of these have a reader more.
        whole, part = divmod(events, self.sessions)
        return events * rounds + whole * rest + min(part, rest)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.streams", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readers", type=int, default=1000, help="open streams (1,000)")
    parser.add_argument("--sessions", type=int, default=1000, help="sessions they are spread over (1,000)")
    parser.add_argument("--rate", type=float, default=1000, help="events per second, over all sessions (1,000)")
    parser.add_argument("--seconds", type=float, default=10, help="how long to append (10)")
    parser.add_argument("--rounds", type=int, default=1, help="how often, with the same open streams (1)")
    parser.add_argument("--reconnect", action="store_true", help="measure how readers come back instead")
    parser.add_argument("--others", type=int, default=500, help="with --reconnect: readers that stay (500)")
    parser.add_argument("--missed", type=int, default=2, help="with --reconnect: events that each has missed (2)")
    parser.add_argument("--stock", action="store_true", help="also measure flask-sse's own blueprint")
    asked = parser.parse_args()
    if not (asked.reconnect and asked.readers > 0) and not 1 <= asked.sessions <= asked.readers:
        parser.error("there must be at least one session, and a reader for each")
    if not (0 < asked.seconds <= 600 and 0 < asked.rate <= 100_000 and 1 <= asked.rounds <= 100):
        parser.error("that would take too long")
    _allow_files(asked.readers + asked.others + SPARE_FILES)
    if asked.reconnect:
        with _valkey() as valkey:
            returning = (asked.readers, asked.others, asked.rate, asked.seconds, asked.missed)
            measured = reconnect.measure(reconnect.Load(*returning), valkey)
        if measured.seconds > reconnect.CAUGHT_UP or measured.others_p99 > reconnect.DISTURBANCE:
            raise SystemExit(
                f"promised are {reconnect.CAUGHT_UP:.0f} s, and {reconnect.DISTURBANCE:.0f} ms for others (p99)"
            )
        return
    load = Load(asked.readers, asked.sessions, asked.rate, asked.seconds, asked.rounds)
    print(f"{load.readers} readers of {load.sessions} sessions, {load.rate:g} events/s for {load.seconds:g} s")
    print(HEADINGS, flush=True)
    ours = _measure(load, switchboard)
    if asked.stock:
        stock = _measure(load, flask_sse)
        print(f"p99 of flask-sse / p99 of Switchboard: {stock / ours:.0f}")


def _allow_files(wanted: int) -> None:
    """For this process and its children."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < wanted:
        raise SystemExit(f"{wanted} open files are needed and {most} are allowed: ulimit -Hn {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else wanted, most))


def _measure(load: Load, serving: Serving) -> float:
    """Measure one server, print a line per round, and return the median p99 of the rounds in milliseconds."""
    with _valkey() as valkey, serving(valkey.directory, valkey, load.sessions) as server:
        expires_at = datetime.now(UTC) + timedelta(hours=1)
        with child(appender.run, str(valkey.socket), server.session_ids, expires_at) as appending:
            appending.receive()
            _warm_up(server)
            before = _Usage.of(server, valkey)
            requests = [server.requests[number % load.sessions] for number in range(load.readers)]
            with child(readers.run, server.port, requests, server.greets) as reading:
                refused = reading.receive()
                assert not refused, refused[:3]
                _await_subscribers(valkey.client(), server, load)
                return statistics.median(
                    _round(load, server, valkey, before, appending, reading) for _ in range(load.rounds)
                )


@contextmanager
def _valkey() -> Iterator[Valkey]:
    directory = Path(tempfile.mkdtemp(prefix="sb-bench-"))
    server = Valkey(directory)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _warm_up(server: Server) -> None:
    """What only the first readers cost (imports, pools, a heap that grows) is not a reader's cost."""
    with child(readers.run, server.port, server.requests[:20], server.greets) as first:
        first.receive()
        time.sleep(1)


def _await_subscribers(redis: Redis, server: Server, load: Load) -> None:
    names = [channel(session_id) for session_id in server.session_ids]
    wanted = load.sessions if server.greets else load.readers

    def subscribed() -> bool:
        return sum(count for _, count in redis.pubsub_numsub(*names)) >= wanted

    wait_for(subscribed, seconds=60, what="all readers are subscribed")
    time.sleep(SETTLE)


@dataclass(frozen=True)
class _Usage:
    """What the processes have used so far."""

    at: float
    web: float
    valkey: float
    memory: int
    connections: int

    @classmethod
    def of(cls, server: Server, valkey: Valkey) -> "_Usage":
        assert valkey.process is not None
        return cls(
            time.monotonic(),
            sum(server.process.cpu_times()[:2]),
            sum(psutil.Process(valkey.process.pid).cpu_times()[:2]),
            server.process.memory_info().rss,
            valkey.client().info("clients")["connected_clients"],
        )


def _round(load: Load, server: Server, valkey: Valkey, idle: _Usage, appending: Child, reading: Child) -> float:
    begun = _Usage.of(server, valkey)
    appending.send((load.rate, load.seconds))
    latest = appending.receive()
    ended = _Usage.of(server, valkey)
    ages = _ages(reading, load.deliveries)
    p50, p90, p99, most = (ages[min(len(ages) - 1, int(len(ages) * part))] / 1e6 for part in (0.5, 0.9, 0.99, 1))
    lasted = ended.at - begun.at
    per_reader = (ended.memory - idle.memory) / load.readers / 1000
    print(
        f"{server.name:<11} {p50:7.2f} {p90:7.2f} {p99:7.2f} {most:7.1f}  {(ended.web - begun.web) / lasted:7.0%}"
        f"  {per_reader:9.1f}  {f'{idle.connections} -> {ended.connections}':>17}  {len(ages)}/{load.deliveries}"
        f"   Valkey {(ended.valkey - begun.valkey) / lasted:.0%}, appends up to {latest * 1000:.0f} ms late",
        flush=True,
    )
    if len(ages) != load.deliveries:
        raise SystemExit(f"{load.deliveries - len(ages)} of {load.deliveries} events have not arrived")
    return p99


def _ages(reading: Child, expected: int) -> "array[int]":
    """The ages, in nanoseconds and sorted, of all that arrives in time."""
    ages = array("Q")
    deadline = time.monotonic() + ARRIVAL
    while len(ages) < expected and time.monotonic() < deadline:
        time.sleep(0.2)
        reading.send("report")
        ages.frombytes(reading.receive())
    return array("Q", sorted(ages))


if __name__ == "__main__":
    main()
