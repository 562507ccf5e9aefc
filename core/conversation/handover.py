"""That a person has had another model carry on an answer: a pure value."""

from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_HANDOVERS = 50
"""Of one answer, so that its row and its message stay small. After that it stays with its model."""


class Handover(NamedTuple):
    """One model has handed an answer over to another."""

    from_model: str
    to_model: str
    at: int
    """How many characters of the answer came before."""

    def describe(self) -> dict[str, Any]:
        """As the wire, the row and the message have it."""
        return {"from": self.from_model, "to": self.to_model, "at": self.at}

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> "Handover":
        """The reverse of `describe`."""
        return cls(stored["from"], stored["to"], stored["at"])


def are_handovers(value: Any) -> bool:
    """Whether it is what a message may have as its handovers."""
    return isinstance(value, list) and len(value) <= MAX_HANDOVERS and all(map(_is_handover, value))


def _is_handover(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"from", "to", "at"}:
        return False
    names = value["from"], value["to"]
    at = value["at"]
    return all(isinstance(name, str) and len(name) <= 64 for name in names) and type(at) is int and 0 <= at < 2**31
