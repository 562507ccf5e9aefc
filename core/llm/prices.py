"""What answers cost, in millionths of the currency: whole numbers and decimals, never floats."""

from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

MILLION = 1_000_000
"""Tokens that a price is for; and parts that the unit of the currency has here."""


class Price(NamedTuple):
    """Of a model: units of the currency for a million tokens, which is millionths of it for one."""

    input: Decimal
    output: Decimal

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What so many tokens cost, in millionths, rounded up: no answer is for nothing that has a price."""
        exact = prompt_tokens * self.input + completion_tokens * self.output
        return int(exact.to_integral_value(ROUND_CEILING))


FREE = Price(Decimal(0), Decimal(0))
"""Of a model that `models.toml` names no price for."""


def money(millionths: int) -> str:
    """An amount of the currency as text, exactly: `0.012345`."""
    units, rest = divmod(millionths, MILLION)
    return f"{units}.{rest:06d}"
