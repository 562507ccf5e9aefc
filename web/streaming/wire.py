"""How a stream says what happens: a reader's events in the bytes of one protocol."""

import errno
import json
from typing import Protocol

from core.conversation.position import Position
from web.streaming.sse import COMMENT, RETRY, frame


class Wire(Protocol):
    """A protocol. One of state belongs to one stream. All but `begin` may raise Broken."""

    def begin(self) -> bytes:
        """The first bytes."""

    def tell(self, kind: str, data: str, at: Position, encoded_event: bytes | None = None) -> bytes:
        """An event of the log; nothing, where the protocol has no word for it. `encoded_event`: the event as `Events`
        tells it, if that is at hand."""

    def reset(self, reason: str, at: Position | None) -> bytes:
        """The reader's place in the log is lost; it goes on from `at`."""

    def expire(self, encoded_event: bytes) -> bytes:
        """The session is over; `encoded_event` is the event that says so."""

    def leave(self) -> None:
        """The stream is about to end, and not because all has been told."""


class Broken(ConnectionResetError):
    """The stream breaks off in the middle of its framing, as if the network had: its client would take a clean end
    for the end of the answer."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the stream can't be told to its end")


class Events:
    """Server-sent events, as of GET /chat/sse. Any end is clean: clients come back, with the last event's id."""

    def begin(self) -> bytes:
        """A comment, so that the head is sent at once, and the pause before coming back."""
        return COMMENT + RETRY

    def tell(self, kind: str, data: str, at: Position, encoded_event: bytes | None = None) -> bytes:
        """The event as it is."""
        return encoded_event or frame(kind, data, str(at))

    def reset(self, reason: str, at: Position | None) -> bytes:
        """The event `reset`."""
        return frame("reset", json.dumps({"reason": reason}), str(at) if at else None)

    def expire(self, encoded_event: bytes) -> bytes:
        """The event `expired`."""
        return encoded_event

    def leave(self) -> None:
        """Nothing is said."""


EVENTS = Events()
