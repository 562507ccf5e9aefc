"""What is counted, as /metrics has it."""

import json
from collections.abc import Mapping
from typing import cast

from core.operations.counters import FLUSH_INTERVAL, GAUGES_KEY
from core.runtime import Runtime
from tests.support.waiting import wait_for

SILENCE = 3 * FLUSH_INTERVAL
"""Seconds after which a process that tells nothing is taken for dead."""


def counted(runtime: Runtime, name: str, **labels: str) -> float:
    """How much all processes have counted of a sample, this one's included; of all that have these labels."""
    runtime.counters.flush()
    return total(runtime.counters.totals().counted, name, **labels)


def tallied(runtime: Runtime, name: str, **labels: str) -> float:
    """How much has been counted of answers; of all samples that have these labels."""
    return total(runtime.tally.samples(), name, **labels)


def total(samples: Mapping[str, float], name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    found = [(json.loads(sample), value) for sample, value in samples.items()]
    return sum(value for (named, has), value in found if named == name and labels.items() <= has.items())


def wait_until_told(runtime: Runtime) -> None:
    """Wait until all processes have told what they had counted when this was called; one at least."""
    began = _now(runtime)

    def told() -> bool:
        moments = _told_at(runtime)
        return any(began < at for at in moments) and all(began < at or at < _now(runtime) - SILENCE for at in moments)

    wait_for(told, what="all is told")


def _now(runtime: Runtime) -> int:
    return runtime.redis.time()[0]


def _told_at(runtime: Runtime) -> list[int]:
    return [int(told.split(" ", 1)[0]) for told in cast("list[str]", runtime.redis.hvals(GAUGES_KEY))]
