"""That another model has answered than the one that was asked: a pure value."""

from typing import Any, NamedTuple

RESTING = "resting"
"""The reason where a model was not asked at all, because it has failed a moment before."""


class Fallback(NamedTuple):
    """One model has helped out for another."""

    from_model: str
    to_model: str
    reason: str
    """What the first has failed with: a kind of error (core/llm/providers/base.py), or RESTING."""
    at: int
    """How many characters of the answer came before."""

    def describe(self) -> dict[str, Any]:
        """As the wire, the row and the message have it."""
        return {"from": self.from_model, "to": self.to_model, "reason": self.reason, "at": self.at}


def is_fallback(value: Any) -> bool:
    """Whether it is what a message may have as its fallback."""
    if not isinstance(value, dict) or value.keys() != {"from", "to", "reason", "at"}:
        return False
    names = value["from"], value["to"], value["reason"]
    at = value["at"]
    return all(isinstance(name, str) and len(name) <= 64 for name in names) and type(at) is int and 0 <= at < 2**31
