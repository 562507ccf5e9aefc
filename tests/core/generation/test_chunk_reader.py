"""The thread that reads a provider: it ends with the request, whatever it waits for."""

import threading
from collections.abc import Iterator

from core.generation.chunk_reader import MAX_BUFFERED, ChunkReader
from core.llm.providers.base import Chunk
from tests.support.waiting import wait_for


class _Endless:
    """A provider that writes faster than its reader takes."""

    def __iter__(self) -> Iterator[Chunk]:
        while True:
            yield Chunk("x" * MAX_BUFFERED)

    def abort(self) -> None:
        """It has no connection."""


def _reader_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "chunk-reader"}


def test_a_thread_that_waits_for_room_ends_when_the_request_is_given_up() -> None:
    before = _reader_threads()
    reader = ChunkReader(_Endless())
    (thread,) = _reader_threads() - before
    wait_for(lambda: reader._waiting == MAX_BUFFERED, what="the buffer is full")
    reader.abort()
    thread.join(5)
    assert not thread.is_alive()
