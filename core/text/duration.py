"""Durations as operators write them, in settings and on the command line."""

import math
import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
MAX = timedelta(days=3650)
"""The longest: a date is to come of it, whatever date it is added to."""


class UnitMissing(ValueError):
    """It is a number, and could be so many of anything."""


def parse_duration(value: object) -> timedelta:
    """`"30m"` -> 30 minutes. A number and one of ms, s, m, h, d.

    Raises ValueError with the expected form, and UnitMissing for a number alone.
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", str(value).strip(), re.ASCII)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{str(value)!r} is not a duration; write a positive number and ms, s, m, h or d: 30m")
    if match[2] is None:
        raise UnitMissing(f"{str(value)!r} has no unit; write ms, s, m, h or d after the number: {match[1]}s")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > MAX.total_seconds():
        raise ValueError(f"{str(value)!r} is longer than ten years; write {MAX.days}d at the most")
    return timedelta(seconds=seconds)


def with_probable_unit(number: str, usual: timedelta) -> str:
    """The number with the unit that comes nearest to the usual duration: `"45"` for usually 30 minutes -> `"45m"`."""

    def distance(unit: str) -> float:
        return abs(math.log(float(number) * _UNITS[unit] / usual.total_seconds()))

    return f"{number.strip()}{min(_UNITS, key=distance)}"


def shortest_form(duration: timedelta) -> str:
    """As an operator would write it: `"30m"`, `"24h"`."""
    seconds = duration.total_seconds()
    unit = max(
        (unit for unit, length in _UNITS.items() if seconds % length == 0), key=_UNITS.__getitem__, default="s"
    )
    return f"{seconds / _UNITS[unit]:g}{unit}"
