"""A place for an event stream: among those of its session, user and address, and among this process's connections."""

from collections.abc import Callable, Generator, Sequence
from itertools import chain, islice
from threading import Lock
from typing import Any
from uuid import UUID

from flask import Flask, g, request

from core.limits.open_streams import OpenStreams
from core.limits.status import RateLimited

_TAKEN = "stream_slot"
MAX_INSPECTED = 50
"""Streams that are looked at for whether their clients have left: the newest, as older ones have had a heartbeat."""
Subject = UUID | str
"""A session, a user, or an address."""


class Slot:
    """A place that has been taken. Giving it back twice does no harm."""

    __slots__ = ("_connection", "_keys", "_open_streams", "_subjects", "leave")

    def __init__(
        self, open_streams: OpenStreams, keys: Sequence[str], subjects: Sequence[Subject], connection: Any
    ) -> None:
        self._open_streams = open_streams
        self._keys = keys
        self._subjects = subjects
        self._connection = connection
        self.leave: Callable[[], None] | None = None
        """Has the stream's reader end."""
        for subject in subjects:
            _slots_of.setdefault(subject, {})[self] = None

    def release(self) -> None:
        """The stream has ended, or has not come about."""
        keys, self._keys = self._keys, ()
        for subject in self._subjects:
            slots = _slots_of.get(subject, {})
            slots.pop(self, None)
            if not slots:
                _slots_of.pop(subject, None)
        self._open_streams.close(keys)

    def is_left(self) -> bool:
        """Whether the client has gone, which the reader would notice with its next event or heartbeat."""
        return self._connection is not None and bool(self._connection.has_left())

    def end(self) -> None:
        """Give the place back, and have the stream end."""
        self._connection.cut()
        if self.leave is not None:
            self.leave()
        self.release()


_looking = Lock()
_slots_of: dict[Subject, dict[Slot, None]] = {}
"""This process's, oldest first, for looking at when their session, user or address has too many."""


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


def take(open_streams: OpenStreams, session_id: UUID | None, user_id: UUID | None, address: str | None) -> None:
    """Take a place for the stream that the request will be answered with. Raises RateLimited or Unavailable."""
    connection = request.environ.get("gunicorn.socket")
    if not hasattr(connection, "stream"):
        connection = None  # another server's: it has no deadlines to lift
    g.setdefault(_TAKEN, _take(open_streams, session_id, user_id, address, connection))
    if connection is not None:
        connection.stream()


def _take(
    open_streams: OpenStreams, session_id: UUID | None, user_id: UUID | None, address: str | None, connection: Any
) -> Slot:
    subjects = [subject for subject in (session_id, user_id, address) if subject is not None]
    try:
        keys = open_streams.open(session_id, user_id, address)
    except RateLimited:
        # A page that is loaded again leaves a stream behind. One at a time: another may just be ending those.
        with _looking:
            for slot in _left(subjects):
                slot.end()
            keys = open_streams.open(session_id, user_id, address)
    return Slot(open_streams, keys, subjects, connection)


def _left(subjects: Sequence[Subject]) -> set[Slot]:
    newest = (islice(reversed(_slots_of.get(subject, {})), MAX_INSPECTED) for subject in subjects)
    return {slot for slot in chain.from_iterable(newest) if slot.is_left()}


def held(chunks: Generator[bytes, None, None], leave: Callable[[], None] | None = None) -> Body:
    """The stream as a body that gives back the place which was taken for it. `leave` has it end soon."""
    slot: Slot | None = g.pop(_TAKEN, None)
    if slot is not None:
        slot.leave = leave
    return Body(chunks, slot)


def _release(_: BaseException | None) -> None:
    slot = g.pop(_TAKEN, None)
    if slot is not None:
        slot.release()
