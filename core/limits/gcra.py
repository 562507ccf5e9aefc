"""The generic cell rate algorithm (ITU-T I.371, as a virtual scheduler) over several buckets: pure arithmetic.

Of a bucket one number is kept: the moment at which it will be full again, its theoretical
arrival time (TAT). How far that lies ahead is the bucket's backlog. All in whole microseconds. The script in
rate_limit.py does the same inside Redis; a test holds the two together.
"""

from collections.abc import Sequence
from typing import NamedTuple

from core.limits.rate import SECOND, Rate


class Charge(NamedTuple):
    """What is taken from one bucket."""

    rate: Rate
    cost: int = 1
    """Units."""


def charge(now: int, arrivals: Sequence[int | None], charges: Sequence[Charge]) -> tuple[bool, list[int]]:
    """Take its cost from every bucket, or nothing from any of them.

    `arrivals` are the kept TATs, None for an unused bucket. Returns whether all admit, and the
    buckets' backlogs after it.
    """
    backlogs = [_backlog(now, arrival, one.rate) for arrival, one in zip(arrivals, charges, strict=True)]
    admitted = all(missing(backlog, *one) == 0 for backlog, one in zip(backlogs, charges, strict=True))
    if admitted:
        backlogs = [backlog + one.rate.interval * one.cost for backlog, one in zip(backlogs, charges, strict=True)]
    return admitted, backlogs


def settle(now: int, arrival: int | None, rate: Rate, more: int) -> int:
    """The backlog of a bucket from which `more` units (or, below 0, fewer) turn out to have been taken.

    Never refused, and never more than an empty bucket: what has happened has happened.
    """
    return min(max(0, _backlog(now, arrival, rate) + more * rate.interval), rate.capacity)


def _backlog(now: int, arrival: int | None, rate: Rate) -> int:
    # No more than full: a clock that was set back, or an option that was changed, must not lock anybody out.
    return 0 if arrival is None else min(max(arrival - now, 0), rate.capacity)


def missing(backlog: int, rate: Rate, cost: int = 1) -> int:
    """Microseconds until the bucket admits so many units; 0 when it does now."""
    return max(0, backlog + rate.interval * cost - rate.capacity)


def remaining(backlog: int, rate: Rate) -> int:
    """How many units the bucket admits at once."""
    return (rate.capacity - backlog) // rate.interval


def restores(backlog: int, rate: Rate) -> int:
    """Microseconds until one more unit than `remaining` can have been admitted."""
    return backlog % rate.interval or rate.interval


def seconds(microseconds: int) -> int:
    """Whole seconds, rounded up: a client that waits that long does not come too early."""
    return -(-microseconds // SECOND)
