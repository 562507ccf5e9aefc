"""Ids as callers have them: a UUID, or its text. Pure."""

from uuid import UUID

from core.errors import SessionInvalid
from core.secret import parse_id


def parse_session_id(session_id: UUID | str) -> UUID:
    """A session's id as a UUID.

    Raises SessionInvalid for text that is no UUID in its canonical spelling: there is no such session. Raises
    TypeError for anything but a UUID or text.
    """
    _require_type("session_id", session_id)
    parsed = parse_id(session_id) if isinstance(session_id, str) else session_id
    if parsed is None:
        raise SessionInvalid
    return parsed


def parse_user_id(user_id: UUID | str | None) -> UUID | None:
    """A user's id as a UUID, or None for an anonymous caller.

    Raises ValueError for text that is no UUID in its canonical spelling: a user's id comes from the application,
    and an owner must not be mistaken for an anonymous caller. Raises TypeError for anything else.
    """
    if user_id is None:
        return None
    _require_type("user_id", user_id)
    parsed = parse_id(user_id) if isinstance(user_id, str) else user_id
    if parsed is None:
        raise ValueError("user_id is not a UUID")
    return parsed


def _require_type(name: str, value: object) -> None:
    if not isinstance(value, UUID | str):
        raise TypeError(f"{name} must be a UUID or its text, not {type(value).__name__}")
