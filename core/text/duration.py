"""Durations as operators write them, in settings and on the command line."""

import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: object) -> timedelta:
    """`"30m"` -> 30 minutes. A number and one of ms, s, m, h, d; a bare number means seconds.

    Raises ValueError with the expected form.
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", str(value).strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{str(value)!r} is not a duration; write a positive number and ms, s, m, h or d: 30m")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])
