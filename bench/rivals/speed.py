"""The speed table: by how much later tokens come than from the provider itself, and what that takes of memory."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child
from bench.provider import Manner
from bench.rivals.heard import Heard, tell_troubles
from bench.rivals.rival import Load, Rival, Running

HEADINGS = f"{'':<18} {'streams':>7} {'first +ms':>10} {'p50 ms':>8} {'p99 ms':>8} {'memory MB':>10} {'arrived':>16}"
WARM = 4
"""Answers that come before, for what only the first ones cost."""
PATIENCE = 60.0
"""Seconds without a word after which a reader gives up."""


@dataclass(frozen=True)
class Plan:
    """For each number of streams, as many answers at once."""

    streams: Sequence[int]
    manner: Manner

    @property
    def lasts(self) -> float:
        """Seconds from an answer's first token to its last."""
        return self.manner.tokens / self.manner.rate

    @property
    def joining(self) -> float:
        """Seconds over which the questions come: half an answer's, so that for as long all are being answered."""
        return self.lasts / 2

    def __str__(self) -> str:
        return (
            f"answers of {self.manner.tokens} tokens at {self.manner.rate}/s, the questions come over"
            f" {self.joining:g} s; `first` is what the first token takes longer than from the provider"
        )


@dataclass(frozen=True)
class Row:
    """One server with so many streams. Times are milliseconds."""

    name: str
    streams: int
    first: float
    """From a question to the first token."""
    added: float
    """What of it comes on top of the bare provider's."""
    p50: float
    """From a token's sending to its arrival."""
    p99: float
    memory: float
    """MB of all processes, those that they share once (PSS)."""
    arrived: int
    sent: int
    """Tokens."""

    @property
    def incomplete(self) -> bool:
        """Whether anything is missing, or there twice."""
        return self.arrived < self.sent

    def __str__(self) -> str:
        return (
            f"{self.name:<18} {self.streams:>7} {self.added:>10.1f} {self.p50:>8.2f} {self.p99:>8.2f}"
            f" {self.memory:>10.0f} {f'{self.arrived}/{self.sent}':>16}"
        )


def measure(
    running: Running, plan: Plan, directory: Path, url: str, reading: Child, bare: Mapping[int, Row]
) -> dict[int, Row]:
    """A row for each number of streams, printed as it comes. `bare` are the provider's own, if they are known."""
    rows = {}
    with running(directory, url, Load(plan.manner, WARM + sum(plan.streams), max(plan.streams))) as rival:
        print(f"# {rival.name}: {rival.configuration}", flush=True)
        _read(rival, plan, reading, 0, WARM)
        asked = WARM
        for streams in plan.streams:
            heard, memory = _read(rival, plan, reading, asked, streams)
            asked += streams
            rows[streams] = _row(rival, plan, streams, heard, memory, bare.get(streams))
            print(rows[streams], flush=True)
            tell_troubles(heard, plan.manner)
    return rows


def _read(rival: Rival, plan: Plan, reading: Child, asked: int, streams: int) -> tuple[Sequence[Heard], int]:
    """What as many readers have heard, and the memory when all of them are there."""
    starts = [number / streams * plan.joining for number in range(streams)]
    reading.send((rival.client.__name__, rival.target.after(asked), starts, PATIENCE))
    reading.receive()
    time.sleep((plan.joining + plan.lasts) / 2)
    memory = rival.memory
    heard: Sequence[Heard] = reading.receive()
    return heard, memory


def _row(rival: Rival, plan: Plan, streams: int, heard: Sequence[Heard], memory: int, bare: Row | None) -> Row:
    delays = sorted(delay for answer in heard for delay in answer.delays) or [float("nan")]
    p50, p99 = (delays[min(len(delays) - 1, int(len(delays) * part))] for part in (0.5, 0.99))
    first = statistics.median([answer.first_after for answer in heard if answer.arrived] or [float("nan")])
    arrived = sum(len(set(answer.numbers)) for answer in heard if not answer.doubled)
    added = first - bare.first if bare else 0.0
    return Row(rival.name, streams, first, added, p50, p99, memory / 1e6, arrived, streams * plan.manner.tokens)
