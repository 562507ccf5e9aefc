"""How a client stands with a limit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How a client stands with one policy, as it is told in the answer's headers."""

    policy: str
    quota: int
    remaining: int
    window: int | None = None
    """Seconds in which the whole quota comes back; None when it counts what is under way."""
    reset: int | None = None
    """Seconds for which no more than `remaining` is to be had."""
    unit: str = "requests"
