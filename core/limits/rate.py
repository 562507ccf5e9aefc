"""How often something may happen, as an option says it: `COUNT/PERIOD[:BURST]`."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

SECOND = 1_000_000
"""Microseconds, the unit of all arithmetic about rates: whole numbers, so that nothing rounds unnoticed."""
_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86400 * SECOND}
_LONGEST = 366 * _UNITS["d"]
MAX_QUOTED = 40
"""Characters of what is no rate that its error quotes."""


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


class _Notation(NamedTuple):
    """How an option writes an amount for a period."""

    noun: str
    amount: str
    """What the option's form calls it."""
    decimals: int
    """Digits that may follow its point; the rate has the last of them as its unit."""
    too_much: str
    form: str

    @property
    def pattern(self) -> str:
        """What an option must match: amount, periods, their unit and perhaps a burst."""
        amount = r"(\d{1,15})" if not self.decimals else rf"(\d{{1,9}}(?:\.\d{{1,{self.decimals}}})?)"
        return rf"{amount}/(\d{{0,9}})([smhd])(?::{amount})?"

    def number(self, amount: str) -> int:
        """In units of the last decimal."""
        return int(Decimal(amount).scaleb(self.decimals))


_COUNT = _Notation(
    "rate", "COUNT", 0, "more than one per microsecond", "write COUNT/PERIOD[:BURST], such as 20/h:5 or 10/5m, or off"
)
_MONEY = _Notation(
    "budget",
    "AMOUNT",
    6,
    "more than one unit of money a second",
    "write AMOUNT/PERIOD[:BURST], such as 2.50/d, or 20/30d:5, or off",
)


def parse_rate(value: object) -> Rate | None:
    """`"20/h:5"` -> 20 an hour, 5 of them at once. Without a burst, all of COUNT may come at once. `off` -> None.

    Raises ValueError that says what is wrong and what the form is.
    """
    return _parse(value, _COUNT)


def parse_budget(value: object) -> Rate | None:
    """`"2.50/d:1"` -> 2.50 units of money a day, 1 of them at once: a rate of millionths. `off` -> None.

    Raises ValueError that says what is wrong and what the form is.
    """
    return _parse(value, _MONEY)


def _parse(value: object, notation: _Notation) -> Rate | None:
    if value is None or isinstance(value, Rate):
        return value
    text = str(value).strip()
    if text == "off":
        return None
    match = re.fullmatch(notation.pattern, text, re.ASCII)
    if match is None:
        raise ValueError(f"{text[:MAX_QUOTED]!r} is not a {notation.noun}; {notation.form}")
    count, period = notation.number(match[1]), int(match[2] or 1) * _UNITS[match[3]]
    burst = count if match[4] is None else notation.number(match[4])
    for name, number in ((notation.amount, count), ("PERIOD", period), ("BURST", burst)):
        if number == 0:
            raise ValueError(f"{text!r}: {name} is 0; {notation.form}")
    if count > period:
        raise ValueError(f"{text!r}: {notation.too_much}")
    return _within_bounds(text, Rate(count, period, burst))


def _within_bounds(text: str, rate: Rate) -> Rate:
    # Beyond this, whole microseconds, and Lua's numbers (exact up to 2^53), are no longer enough.
    if max(rate.period, rate.capacity) > _LONGEST:
        raise ValueError(f"{text!r}: the period, or the time in which a burst comes back, is more than a year")
    return rate
