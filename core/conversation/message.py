"""One turn of a conversation, as it is stored and as the wire has it."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.clock import rfc3339
from core.stores import tables
from core.text.characters import storable

MESSAGE_OVERHEAD = 900
"""Bytes of a message's JSON beside its text, its thinking and its HTML, at the most."""

MessageState = Literal["complete", "streaming", "stopped", "failed"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    id: str
    role: Literal["user", "assistant"]
    text: str
    model: str | None
    """The model that answered; None for a person's message."""
    state: MessageState
    created_at: str
    html: str | None = None
    """The text's Markdown, rendered when the answer ended. None: not rendered, and never will be; the text as it
    stands is what is shown."""
    finish_reason: str | None = None
    """Why an answer ended: a provider's reason (core/llm/providers/base.py), `stopped` or `error`. None while it is
    being written."""
    thinking: str | None = None
    """What the model said to itself. None: nothing."""
    thinking_seconds: int | None = None
    """How long it did."""
    problem: dict[str, Any] | None = None
    """Why an answer failed."""

    def dump(self) -> str:
        """The stored form. Not in ASCII, which has twelve bytes for an emoji and takes three times as long."""
        return storable(json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False))

    @classmethod
    def load(cls, stored: str) -> "Message":
        """The reverse of `dump`."""
        return cls(**json.loads(stored))

    @classmethod
    def from_row(cls, row: tables.Message) -> "Message":
        """The message in a row."""
        return cls(
            str(row.id),
            row.role,  # type: ignore[arg-type]
            row.text,
            row.model,
            row.state,  # type: ignore[arg-type]
            rfc3339(row.created_at),
            row.html,
            row.finish_reason,
            row.thinking,
            row.thinking_seconds,
            row.problem,
        )

    def describe(self) -> dict[str, Any]:
        """As the wire has it."""
        return dict(vars(self))

    def encode(self) -> bytes:
        """As the wire has it, as JSON. What old stores have of half characters becomes question marks."""
        return json.dumps(self.describe(), ensure_ascii=False).encode(errors="replace")

    def size(self) -> int:
        """About how many bytes `encode` makes, without doing it: escapes are not counted, of which a text of control
        characters alone has six bytes each, and characters beyond ASCII count as four."""
        return MESSAGE_OVERHEAD + _bytes(self.text) + _bytes(self.html or "") + _bytes(self.thinking or "")


def whole_seconds(thinking: str, milliseconds: int) -> int | None:
    """How long a model has been thinking, as people are told: at least a second, or None when it has not been."""
    return max(1, round(milliseconds / 1000)) if thinking else None


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)
