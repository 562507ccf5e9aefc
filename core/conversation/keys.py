"""The names of what a session has in Redis: its keys and its channel."""

from typing import NamedTuple
from uuid import UUID


class Keys(NamedTuple):
    """All keys of one session. They share a hash slot, so one script can reach them all."""

    log: str
    """The events: a stream."""
    meta: str
    """What is known of the log, and the places of an anonymous session's messages: a hash."""
    partial: str
    """The text of the answer being written: a string."""
    words: str
    """An anonymous session's finished messages: a list."""
    thinking: str
    """The thinking for the answer being written: a string."""
    settings: str
    """What the holder of an anonymous session has set for it: a hash."""
    request: str
    """The conversation that a request has brought with it, and what it asks for: a string."""


def keys(session_id: UUID | str) -> Keys:
    """The session's keys. A sweep makes them by the million, and so one by one."""
    prefix = f"sb:{{{session_id}}}:"
    return Keys(
        log=prefix + "log",
        meta=prefix + "meta",
        partial=prefix + "partial",
        words=prefix + "words",
        thinking=prefix + "thinking",
        settings=prefix + "settings",
        request=prefix + "request",
    )


def channel(session_id: UUID | str) -> str:
    """The pub/sub channel on which a session's events are announced."""
    return f"sb:{session_id}"


def session_of(name: str) -> UUID:
    """The reverse of `channel`."""
    return UUID(name.removeprefix("sb:"))
