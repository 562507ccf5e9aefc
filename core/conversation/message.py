"""One turn of a conversation, as it is stored and as the wire has it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

from core.clock import rfc3339
from core.conversation.damage import Damaged, decode
from core.conversation.fallback import is_fallback
from core.conversation.handover import are_handovers
from core.stores import tables
from core.text.characters import storable

MESSAGE_OVERHEAD = 900
"""Bytes of a message's JSON beside its text, its thinking, its HTML and its siblings, at the most."""
ID_BYTES = 40
"""Of an id in a list."""

PREVIOUS: Final = ""
"""The stored parent of a message whose writer did not know of parents: it follows the one before it in time. What is
read of a conversation has the parent itself."""

Role = Literal["user", "assistant"]
MessageState = Literal["complete", "streaming", "stopped", "failed"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    id: str
    role: Role
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
    handovers: list[dict[str, Any]] | None = None
    """Where a person has had another model carry on the answer (core/conversation/handover.py). None: nowhere."""
    fallback: dict[str, Any] | None = None
    """Why another model has answered than was asked (core/conversation/fallback.py). None: none has."""
    parent: str | None = PREVIOUS
    """The id of the message that it follows. None: it begins a conversation."""
    siblings: Sequence[str] | None = None
    """The ids of the messages that follow the same one, this included, the oldest first; not stored with it. None:
    they have not been asked for."""

    def dump(self) -> str:
        """The stored form. Not in ASCII, which has twelve bytes for an emoji and takes three times as long. The
        id and the parent come first: there scripts look for them (core/conversation/branch_scripts.py)."""
        fields = asdict(self)
        del fields["siblings"]
        ordered = {"id": fields.pop("id"), "parent": fields.pop("parent"), **fields}
        return storable(json.dumps(ordered, separators=(",", ":"), ensure_ascii=False))

    @classmethod
    def load(cls, stored: str) -> "Message":
        """The reverse of `dump`, without fields that a later version may have added. Raises Damaged."""
        return cls(**_checked(decode(stored)))

    @classmethod
    def from_row(cls, row: tables.Message, problem: str | None, follows: UUID | None = None) -> "Message":
        """The message in a row, whose `problem` has been read as text. `follows`: its parent or, at the beginning,
        its session's id, where that is known better than its row has it. Raises Damaged."""
        follows = follows or row.parent_id
        words = {name: getattr(row, name) for name in IN_ROWS}
        words["problem"] = None if problem in (None, "null") else decode(problem)
        words["handovers"] = None if row.handovers is None else decode(row.handovers).get("handovers")
        words["fallback"] = None if row.fallback is None else decode(row.fallback)
        _check(words)
        return cls(
            id=str(row.id),
            parent=None if follows == row.session_id else str(follows or PREVIOUS),
            created_at=rfc3339(row.created_at),
            **words,
        )

    def describe(self) -> dict[str, Any]:
        """As the wire has it."""
        return {name: value for name, value in vars(self).items() if name != "siblings" or value is not None}

    def encode(self) -> bytes:
        """As the wire has it, as JSON. What old stores have of half characters becomes question marks."""
        return json.dumps(self.describe(), ensure_ascii=False).encode(errors="replace")

    def size(self) -> int:
        """About how many bytes `encode` makes, without doing it: escapes are not counted, of which a text of control
        characters alone has six bytes each, and characters beyond ASCII count as four."""
        told = (self.text, self.html or "", self.thinking or "")
        return MESSAGE_OVERHEAD + sum(map(_bytes, told)) + ID_BYTES * len(self.siblings or ())


def whole_seconds(thinking: str, milliseconds: int) -> int | None:
    """How long a model has been thinking, as people are told: at least a second, or None when it has not been."""
    return max(1, round(milliseconds / 1000)) if thinking else None


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields that a message has. Raises Damaged."""
    _check(fields)
    missing = REQUIRED - fields.keys()
    if missing:
        raise Damaged(f"without {', '.join(sorted(missing))}")
    return {name: fields[name] for name in CHECKS if name in fields}


def _check(fields: Mapping[str, Any]) -> None:
    """Raise Damaged for one that is not what it must be."""
    for name, value in fields.items():
        if name in CHECKS and not CHECKS[name](value):
            raise Damaged(f"the field {name}")


def _is_id(value: Any) -> bool:
    try:
        return bool(str(UUID(value)) == value)
    except (ValueError, TypeError, AttributeError):
        return False


def _is_moment(value: Any) -> bool:
    try:
        moment = datetime.fromisoformat(value)
        return moment.tzinfo is not None and bool(moment.astimezone(UTC))
    except (ValueError, TypeError, OverflowError):
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 64


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_problem(value: Any) -> bool:
    """Problem details (RFC 9457), with the reason that providers' failures have."""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), str) for name in ("type", "title", "detail"))
        and _is_count(value.get("status"))
        and isinstance(value.get("reason", ""), str)
    )


def _optional(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "id": _is_id,
    "role": get_args(Role).__contains__,
    "text": _is_text,
    "model": _optional(_is_name),
    "state": get_args(MessageState).__contains__,
    "created_at": _is_moment,
    "html": _optional(_is_text),
    "finish_reason": _optional(_is_name),
    "thinking": _optional(_is_text),
    "thinking_seconds": _optional(_is_count),
    "problem": _optional(_is_problem),
    "handovers": _optional(are_handovers),
    "fallback": _optional(is_fallback),
    "parent": lambda value: value in (None, PREVIOUS) or _is_id(value),
}
"""What each field must be, whoever has written it."""
REQUIRED = {"id", "role", "text", "model", "state", "created_at"}
"""Fields that all messages have had from the first version on."""
IN_ROWS = CHECKS.keys() - {"id", "parent", "created_at", "problem", "handovers", "fallback"}
"""Fields that rows have as they are. The first three the database knows to be what they must be."""


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)
