"""Switchboard beside what its users would take instead: LiteLLM's proxy, resumable-stream, Chainlit, flask-sse.

    python -m bench.rivals [--kill] [--speed] [--only switchboard,litellm] [--quick]

--kill   Answers are being written when their writer gets SIGKILL, and in another round SIGTERM, at random moments,
         and is started again by the same supervisor: which of them come to their end, what is lost and doubled, how
         long the longest of those that did stood still, and how many requests the provider bills.
--speed  By how much later tokens come than from the provider itself at 1, 16, 64 and 256 streams of 20 tokens/s, and
         the memory (PSS) of all processes.

The provider is the same for all, and goes on with an answer that is handed to it. Every token has its number and
the time at which it was sent, so delays and lost or doubled characters are exact. The readers do as each one's own
page or client does; a question that is refused is asked again, by all of them. What is missing is installed under
build/rivals by pip and npm. Fails when an answer of Switchboard's has not arrived as it was sent; for the others that
is a result. Open WebUI is left out: it needs several GB of torch and CUDA.
"""

import argparse
import json
import platform
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psutil

from bench import provider
from bench.child import Child, child
from bench.provider import Manner
from bench.rivals import clients, environments, kills, speed
from bench.rivals.registry import RIVALS, SWITCHBOARD, bare

RATE = 20
"""Tokens a second."""
RATIO_OF = (64, 256)
"""Streams at which LiteLLM's p99 is divided by Switchboard's."""
RATIO = 10


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.rivals", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kill", action="store_true", help="the kill table (without --speed: only it)")
    parser.add_argument("--speed", action="store_true", help="the speed table (without --kill: only it)")
    parser.add_argument("--only", default=",".join(RIVALS), help=f"of {', '.join(RIVALS)} (all)")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64, 256], help="streams (1 16 64 256)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the random moments")
    parser.add_argument(
        "--patience", type=float, default=60, help="seconds without a word after which a reader gives up (60)"
    )
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter answers")
    asked = parser.parse_args()
    names = asked.only.split(",")
    if unknown := sorted(set(names) - set(RIVALS)):
        parser.error(f"there is no {unknown[0]!r}; there are {', '.join(RIVALS)}")
    if not all(1 <= count <= 512 for count in asked.streams):
        parser.error("streams are between 1 and 512")
    print(f"{platform.platform()}, Python {platform.python_version()}, {psutil.cpu_count()} cores")
    print("Open WebUI is left out: it needs several GB of torch and CUDA.")
    both = asked.kill == asked.speed
    killed: list[kills.Row] = []
    timed: list[speed.Row] = []
    with child(provider.run) as serving, child(clients.run) as reading:
        url = f"http://127.0.0.1:{serving.receive()}/v1"
        if asked.kill or both:
            killed = kill_table(names, _kill_plan(asked.quick, asked.seed, asked.patience), serving, url, reading)
        if asked.speed or both:
            plan = speed.Plan(sorted(asked.streams), Manner((6 if asked.quick else 16) * RATE, RATE))
            timed = speed_table(names, plan, url, reading)
    if asked.json:
        rows = {"kills": [asdict(row) for row in killed], "speed": [asdict(row) for row in timed]}
        asked.json.write_text(json.dumps(rows, indent=1))
    require_whole(killed, timed)


def _kill_plan(quick: bool, seed: int, patience: float) -> kills.Plan:
    waves, answers, seconds = (1, 12, 5) if quick else (4, 25, 20)
    return kills.Plan(waves, answers, Manner(seconds * RATE, RATE), patience, seed)


def kill_table(names: Sequence[str], plan: kills.Plan, serving: Child, url: str, reading: Child) -> list[kills.Row]:
    """Print the table, and return it."""
    print(f"\nkills: {plan}\n{kills.HEADINGS}", flush=True)
    rows = []
    for name in names:
        with _left_out_if_missing(name), _directory() as directory:
            rows += kills.measure(RIVALS[name], plan, directory, serving, url, reading)
    return rows


def speed_table(names: Sequence[str], plan: speed.Plan, url: str, reading: Child) -> list[speed.Row]:
    """Print the table and LiteLLM's p99 by Switchboard's, and return the table."""
    print(f"\nspeed: {plan}\n{speed.HEADINGS}", flush=True)
    with _directory() as directory:
        alone = speed.measure(bare, plan, directory, url, reading, {})
    rows = {}
    for name in names:
        with _left_out_if_missing(name), _directory() as directory:
            rows[name] = speed.measure(RIVALS[name], plan, directory, url, reading, alone)
    if {"switchboard", "litellm"} <= set(rows):
        for streams in sorted(set(RATIO_OF) & set(plan.streams)):
            ratio = rows["litellm"][streams].p99 / rows["switchboard"][streams].p99
            print(f"p99 of LiteLLM / p99 of Switchboard at {streams} streams: {ratio:.1f}, target {RATIO}")
    return [row for each in (alone, *rows.values()) for row in each.values()]


def require_whole(killed: Sequence[kills.Row], timed: Sequence[speed.Row]) -> None:
    """End the command with the counts when not all that was sent has arrived at Switchboard's readers."""
    answers = [row for row in killed if row.name == SWITCHBOARD and row.incomplete]
    tokens = [row for row in timed if row.name == SWITCHBOARD and row.incomplete]
    missing = [
        *(f"{row.completed} of {row.answers} answers after {row.signal}" for row in answers),
        *(f"{row.arrived} of {row.sent} tokens at {row.streams} streams" for row in tokens),
    ]
    if missing:
        raise SystemExit(f"Switchboard: only {', '.join(missing)} have arrived")


@contextmanager
def _left_out_if_missing(name: str) -> Iterator[None]:
    try:
        yield
    except environments.NotInstalled as error:
        print(f"{name} is left out: {error}", flush=True)


@contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sb-rivals-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
