"""How often something may happen, as an option says it: `COUNT/PERIOD[:BURST]`."""

import re
from dataclasses import dataclass
from decimal import Decimal

SECOND = 1_000_000
"""Microseconds, the unit of all arithmetic about rates: whole numbers, so that nothing rounds unnoticed."""
_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86400 * SECOND}
_LONGEST = 366 * _UNITS["d"]
_FORM = "write COUNT/PERIOD[:BURST], such as 20/h:5 or 10/5m, or off"
_MONEY_FORM = "write AMOUNT/PERIOD[:BURST], such as 2.50/d, or 20/30d:5, or off"
MILLION = 1_000_000
"""Parts that a unit of money has here."""


@dataclass(frozen=True)
class Rate:
    """`count` units per `period` on average, and up to `burst` of them at once."""

    count: int
    period: int
    """Microseconds."""
    burst: int

    @property
    def interval(self) -> int:
        """Microseconds in which one unit comes back, rounded up: never faster than was said."""
        return -(-self.period // self.count)

    @property
    def capacity(self) -> int:
        """Microseconds in which a whole burst comes back."""
        return self.interval * self.burst

    def times(self, factor: int) -> "Rate":
        """The rate of a group that is worth `factor` single clients."""
        return Rate(self.count * factor, self.period, self.burst * factor)


def parse_rate(value: object) -> Rate | None:
    """`"20/h:5"` -> 20 an hour, 5 of them at once. Without a burst, all of COUNT may come at once. `off` -> None.

    Raises ValueError that says what is wrong and what the form is.
    """
    if value is None or isinstance(value, Rate):
        return value
    text = str(value).strip()
    if text == "off":
        return None
    match = re.fullmatch(r"(\d+)/(\d*)([smhd])(?::(\d+))?", text, re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not a rate; {_FORM}")
    count, period = int(match[1]), int(match[2] or 1) * _UNITS[match[3]]
    burst = count if match[4] is None else int(match[4])
    for name, number in (("COUNT", count), ("PERIOD", period), ("BURST", burst)):
        if number == 0:
            raise ValueError(f"{text!r}: {name} is 0; {_FORM}")
    if count > period:
        raise ValueError(f"{text!r}: more than one per microsecond")
    return _within_bounds(text, Rate(count, period, burst))


def parse_budget(value: object) -> Rate | None:
    """`"2.50/d:1"` -> 2.50 units of money a day, 1 of them at once: a rate of millionths. `off` -> None.

    Raises ValueError that says what is wrong and what the form is.
    """
    if value is None or isinstance(value, Rate):
        return value
    text = str(value).strip()
    if text == "off":
        return None
    amount = r"(\d{1,9}(?:\.\d{1,6})?)"
    match = re.fullmatch(rf"{amount}/(\d{{0,9}})([smhd])(?::{amount})?", text, re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not a budget; {_MONEY_FORM}")
    count, period = _millionths(match[1]), int(match[2] or 1) * _UNITS[match[3]]
    burst = count if match[4] is None else _millionths(match[4])
    for name, number in (("AMOUNT", count), ("PERIOD", period), ("BURST", burst)):
        if number == 0:
            raise ValueError(f"{text!r}: {name} is 0; {_MONEY_FORM}")
    if count > period:
        raise ValueError(f"{text!r}: more than one unit of money a second")
    return _within_bounds(text, Rate(count, period, burst))


def _millionths(amount: str) -> int:
    return int(Decimal(amount) * MILLION)


def _within_bounds(text: str, rate: Rate) -> Rate:
    # Beyond this, whole microseconds, and Lua's numbers (exact up to 2^53), are no longer enough.
    if max(rate.period, rate.capacity) > _LONGEST:
        raise ValueError(f"{text!r}: the period, or the time in which a burst comes back, is more than a year")
    return rate
