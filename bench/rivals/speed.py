"""The speed table: by how much later tokens come than from the provider itself, and what that takes of memory."""

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child
from bench.provider import Manner
from bench.rivals.heard import Heard
from bench.rivals.rival import Rival, Running

HEADINGS = f"{'':<18} {'streams':>7} {'first +ms':>10} {'p50 ms':>8} {'p99 ms':>8} {'memory MB':>10} {'arrived':>16}"
WARM = 4
"""Answers that come before, for what only the first ones cost."""
ARRIVALS = 64
"""Questions a second: readers don't all come at once."""
PATIENCE = 30.0
"""Seconds without a word after which a reader gives up."""


@dataclass(frozen=True)
class Plan:
    """For each number of streams, as many answers at once."""

    streams: Sequence[int]
    manner: Manner

    def __str__(self) -> str:
        return (
            f"answers of {self.manner.tokens} tokens at {self.manner.rate}/s, {ARRIVALS} questions a second until all"
            " are asked; `first` is what the first token takes longer than from the provider"
        )


@dataclass(frozen=True)
class Figures:
    """Of one server and one number of streams. Times are milliseconds."""

    first: float
    """From a question to the first token."""
    p50: float
    p99: float
    whole: bool


def measure(
    running: Running, plan: Plan, directory: Path, url: str, reading: Child, bare: Mapping[int, Figures]
) -> dict[int, Figures]:
    """Print a line for each number of streams; the figures. `bare` are the provider's own, if they are known."""
    figures = {}
    opened: AbstractContextManager[Rival] = running(directory, url, plan.manner, WARM + sum(plan.streams))
    with opened as rival:
        print(f"# {rival.name}: {rival.configuration}", flush=True)
        _read(rival, reading, 0, WARM)
        offset = WARM
        for streams in plan.streams:
            heard, memory = _read(rival, reading, offset, streams, plan)
            offset += streams
            figures[streams] = _report(rival, plan, streams, heard, memory, bare.get(streams))
    return figures


def _read(
    rival: Rival, reading: Child, offset: int, streams: int, plan: Plan | None = None
) -> tuple[Sequence[Heard], int]:
    """What as many readers have heard, and the memory when all of them are there."""
    starts = [number / ARRIVALS for number in range(streams)]
    reading.send((rival.client.__name__, rival.target.after(offset), starts, PATIENCE))
    reading.receive()
    memory = 0
    if plan is not None:
        time.sleep(max(starts) + plan.manner.tokens / plan.manner.rate / 2)
        memory = rival.memory
    heard: Sequence[Heard] = reading.receive()
    return heard, memory


def _report(
    rival: Rival, plan: Plan, streams: int, heard: Sequence[Heard], memory: int, bare: Figures | None
) -> Figures:
    delays = sorted(delay for answer in heard for delay in answer.delays) or [float("nan")]
    p50, p99 = (delays[min(len(delays) - 1, int(len(delays) * part))] for part in (0.5, 0.99))
    first = statistics.median([answer.first_after for answer in heard if answer.arrived] or [float("nan")])
    arrived = sum(len(set(answer.numbers)) for answer in heard)
    wanted = streams * plan.manner.tokens
    added = f"{first - bare.first:>10.1f}" if bare else f"{first:>6.1f} abs"
    print(
        f"{rival.name:<18} {streams:>7} {added} {p50:>8.2f} {p99:>8.2f} {memory / 1e6:>10.0f}"
        f" {f'{arrived}/{wanted}':>16}",
        flush=True,
    )
    return Figures(first, p50, p99, all(answer.whole(plan.manner.tokens) for answer in heard))
