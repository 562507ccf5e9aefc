"""One answer as a UI message stream, for the reader of its session's log."""

import json
from collections.abc import Sequence
from uuid import UUID

from core.conversation.position import Position
from web.ai_sdk.chunks import FINISH, NOTHING, Answer, Chunk, Parts, tell
from web.streaming.reader import TERMINAL_EVENTS
from web.streaming.sse import COMMENT
from web.streaming.wire import Broken

DONE = b"data: [DONE]\n\n"
"""The last of a stream. It is no chunk."""


class UIMessageWire:
    """The chunks of one generation's events. Any end but the answer's breaks the stream: its clients take a clean one
    for the answer's."""

    def __init__(
        self,
        generation_id: UUID,
        answer: Answer,
        *,
        parts: Parts = NOTHING,
        first: Sequence[Chunk] = (),
        skip: int = 0,
    ) -> None:
        """`first`, after which `parts` are under way: what is told before the log's events. Of these events' chunks
        the first `skip` are left out."""
        self._named = f'{{"generation_id":"{generation_id}"'  # an event's data begins with it
        self._answer = answer
        self._parts = parts
        self._first = first
        self._skip = skip

    def begin(self) -> bytes:
        """A comment, so that the head is sent at once, and the first chunks."""
        return COMMENT + encoded(self._first)

    def tell(self, kind: str, data: str, at: Position, encoded_event: bytes | None = None) -> bytes:
        """The event's chunks. Raises Broken for a `reset`, which stands for an event that can't be read."""
        if kind == "reset":
            raise Broken
        if not data.startswith(self._named):
            return b""
        self._parts, chunks = tell(self._parts, kind, json.loads(data), self._answer)
        left_out = min(self._skip, len(chunks))
        self._skip -= left_out
        told = chunks[left_out:]
        if kind not in TERMINAL_EVENTS:
            return encoded(told)
        return ending(told)

    def reset(self, reason: str, at: Position | None) -> bytes:
        """Raises Broken: what is told next would not follow."""
        raise Broken

    def expire(self, encoded_event: bytes) -> bytes:
        """Raises Broken: whoever comes back is told that the session is over."""
        raise Broken

    def leave(self) -> None:
        """Raises Broken."""
        raise Broken


def encoded(chunks: Sequence[Chunk]) -> bytes:
    """The chunks as they are sent."""
    return "".join(f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n" for chunk in chunks).encode("ascii")


def ending(chunks: Sequence[Chunk]) -> bytes:
    """The last chunks of a stream. A client that has had all of them is told the end again, which it waits for."""
    return encoded(chunks or [FINISH]) + DONE
