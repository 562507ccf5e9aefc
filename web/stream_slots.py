"""A place for an event stream: among those of its session, user and address, and among this process's connections."""

from collections.abc import Generator, Sequence
from uuid import UUID

from flask import Flask, g, request

from core.limits.open_streams import OpenStreams
from web.address import client_address
from web.parts import parts
from web.principal import current_principal

_TAKEN = "stream_slot"


class Slot:
    """A place that has been taken. Giving it back twice does no harm."""

    __slots__ = ("_keys", "_open_streams")

    def __init__(self, open_streams: OpenStreams, keys: Sequence[str]) -> None:
        self._open_streams = open_streams
        self._keys = keys

    def release(self) -> None:
        """The stream has ended, or has not come about."""
        keys, self._keys = self._keys, ()
        self._open_streams.close(keys)


class Body:
    """A response's body that keeps its place until it is closed, which a generator that was never begun would not
    hear of."""

    __slots__ = ("_chunks", "_slot")

    def __init__(self, chunks: Generator[bytes, None, None], slot: Slot | None) -> None:
        self._chunks = chunks
        self._slot = slot

    def __iter__(self) -> "Body":
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Sent, or given up."""
        try:
            self._chunks.close()
        finally:
            if self._slot is not None:
                self._slot.release()


def register(app: Flask) -> None:
    """Give back the places of requests that were not answered with a stream in the end."""
    app.teardown_request(_release)


def take(session_id: UUID | None = None) -> None:
    """Take a place for the stream that this request will be answered with. Raises RateLimited or Unavailable.

    Do it before anything else is done for the request: one that is refused must have changed nothing. Without a
    `session_id` the user and the address count alone; a session that is made for this stream has no other.
    """
    if request.method == "HEAD":
        return  # answered without a body
    principal, open_streams = current_principal(), parts().runtime.open_streams
    user_id = principal.user_id if principal else None
    g.setdefault(_TAKEN, Slot(open_streams, open_streams.open(session_id, user_id, client_address())))
    connection = request.environ.get("gunicorn.socket")
    if connection is not None and hasattr(connection, "stream"):  # other servers' have no deadlines to lift
        connection.stream()


def held(chunks: Generator[bytes, None, None]) -> Body:
    """The stream as a body that gives back the place which was taken for it."""
    return Body(chunks, g.pop(_TAKEN, None))


def _release(_: BaseException | None) -> None:
    slot = g.pop(_TAKEN, None)
    if slot is not None:
        slot.release()
