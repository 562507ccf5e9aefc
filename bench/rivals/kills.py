"""The kill table: answers are being written, and their writer is ended at random moments and started again."""

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child
from bench.provider import TOKEN_LENGTH, Manner
from bench.rivals.heard import Heard, tell_troubles
from bench.rivals.rival import Load, Rival, Running

HEADINGS = "                   signal   answers  completed         lost  doubled  longest pause  billed"


@dataclass(frozen=True)
class Plan:
    """Waves of answers. In each, the questions come over as long as an answer takes, and the signal comes once."""

    waves: int
    answers: int
    """In each wave."""
    manner: Manner
    patience: float
    """Seconds without a word after which a reader gives up."""
    seed: int

    @property
    def lasts(self) -> float:
        """Seconds from an answer's first token to its last."""
        return self.manner.tokens / self.manner.rate

    @property
    def grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL: `docker stop` leaves 10 to an answer of 20."""
        return self.lasts / 2

    def __str__(self) -> str:
        return (
            f"{self.waves * self.answers} answers of {self.manner.tokens} tokens at {self.manner.rate}/s"
            f" ({self.manner.tokens * TOKEN_LENGTH:,} characters), {self.waves} signals, seed {self.seed};"
            f" SIGKILL {self.grace:g} s after SIGTERM, a start 0.5 s after an end;"
            f" readers give up after {self.patience:g} s of silence"
        )


@dataclass(frozen=True)
class Row:
    """What became of the answers of one server after one signal."""

    name: str
    signal: str
    answers: int
    completed: int
    """Those that arrived as they were sent."""
    lost: int
    """Characters."""
    doubled: int
    """Characters."""
    pause: float
    """Seconds: the longest time without a word in an answer that was completed."""
    billed: int
    """Requests to the provider."""

    @property
    def incomplete(self) -> bool:
        """Whether anything is missing, or there twice."""
        return self.completed < self.answers

    def __str__(self) -> str:
        return (
            f"{self.name:<18} {self.signal:<8} {self.answers:>7} {self.completed:>10} {self.lost:>12,}"
            f" {self.doubled:>8,} {self.pause:>12.1f} s {self.billed:>7}"
        )


def measure(running: Running, plan: Plan, directory: Path, provider: Child, url: str, reading: Child) -> list[Row]:
    """A row for each signal, printed as it comes."""
    rows = []
    with running(directory, url, Load(plan.manner, 1 + 2 * plan.waves * plan.answers, plan.answers)) as rival:
        print(f"# {rival.name}: {rival.configuration}", flush=True)
        _ask(rival, [0.0], plan, reading, 0)
        reading.receive()  # what only the first answer costs
        asked = 1
        for number in (signal.SIGKILL, signal.SIGTERM):
            chance = random.Random(f"{plan.seed} {number}")
            before = _billed(provider)
            heard: list[Heard] = []
            for _ in range(plan.waves):
                heard += _wave(rival, plan, number, chance, reading, asked)
                asked += plan.answers
            rows.append(_row(rival, plan, number, heard, _billed(provider) - before))
            print(rows[-1], flush=True)
            tell_troubles(heard, plan.manner)
    return rows


def _wave(
    rival: Rival, plan: Plan, number: signal.Signals, chance: random.Random, reading: Child, asked: int
) -> Sequence[Heard]:
    assert rival.writer is not None
    rival.writer.await_ready()
    starts = [chance.uniform(0, plan.lasts) for _ in range(plan.answers)]
    at = chance.uniform(plan.lasts / 2, plan.lasts * 3 / 2)  # answers are written from 0 to twice `lasts`
    _ask(rival, starts, plan, reading, asked)
    time.sleep(at)
    if number == signal.SIGKILL:
        rival.writer.kill()
    else:
        rival.writer.stop(plan.grace)
    heard: Sequence[Heard] = reading.receive()
    return heard


def _ask(rival: Rival, starts: Sequence[float], plan: Plan, reading: Child, asked: int) -> None:
    """Have the readers begin. They send what they have heard when all of them are at their end."""
    reading.send((rival.client.__name__, rival.target.after(asked), starts, plan.patience))
    reading.receive()


def _billed(provider: Child) -> int:
    provider.send("billed")
    count: int = provider.receive()
    return count


def _row(rival: Rival, plan: Plan, number: signal.Signals, heard: Sequence[Heard], billed: int) -> Row:
    tokens = plan.manner.tokens
    completed = [answer for answer in heard if answer.whole(tokens)]
    return Row(
        rival.name,
        number.name,
        len(heard),
        len(completed),
        sum(answer.lost(tokens) for answer in heard),
        sum(answer.doubled for answer in heard),
        max((answer.longest_pause for answer in completed), default=0.0),
        billed,
    )
