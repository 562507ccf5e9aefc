"""The kill table: answers are being written, and their writer is ended at random moments and started again."""

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child
from bench.provider import TOKEN_LENGTH, Manner
from bench.rivals.heard import Heard
from bench.rivals.rival import Rival, Running

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


def measure(running: Running, plan: Plan, directory: Path, provider: Child, url: str, reading: Child) -> bool:
    """Print a line for each signal; whether all that was sent has arrived once."""
    whole = True
    with running(directory, url, plan.manner, 2 * plan.waves * plan.answers) as rival:
        print(f"# {rival.name}: {rival.configuration}", flush=True)
        offset = 0
        for number in (signal.SIGKILL, signal.SIGTERM):
            chance = random.Random(f"{plan.seed} {number}")
            before = _billed(provider)
            heard: list[Heard] = []
            for _ in range(plan.waves):
                heard += _wave(rival, plan, number, chance, reading, offset)
                offset += plan.answers
            whole &= _report(rival, plan, number, heard, _billed(provider) - before)
    return whole


def _wave(
    rival: Rival, plan: Plan, number: signal.Signals, chance: random.Random, reading: Child, offset: int
) -> Sequence[Heard]:
    assert rival.writer is not None
    rival.writer.await_ready()
    starts = [chance.uniform(0, plan.lasts) for _ in range(plan.answers)]
    at = chance.uniform(plan.lasts / 4, plan.lasts)
    reading.send((rival.client.__name__, rival.target.after(offset), starts, plan.patience))
    reading.receive()
    time.sleep(at)
    if number == signal.SIGKILL:
        rival.writer.kill()
    else:
        rival.writer.stop(plan.grace)
    heard: Sequence[Heard] = reading.receive()
    return heard


def _billed(provider: Child) -> int:
    provider.send("billed")
    count: int = provider.receive()
    return count


def _report(rival: Rival, plan: Plan, number: signal.Signals, heard: Sequence[Heard], billed: int) -> bool:
    tokens = plan.manner.tokens
    completed = [answer for answer in heard if answer.whole(tokens)]
    lost = sum(answer.lost(tokens) for answer in heard)
    doubled = sum(answer.doubled for answer in heard)
    pause = max((answer.longest_pause for answer in completed), default=0)
    print(
        f"{rival.name:<18} {number.name:<8} {len(heard):>7} {len(completed):>10} {lost:>12,} {doubled:>8,}"
        f" {pause:>12.1f} s {billed:>7}",
        flush=True,
    )
    return len(completed) == len(heard)
