"""The task that reads a provider: it ends with the request, whatever it waits for."""

from collections.abc import AsyncIterator
from threading import Event

from core.generation.chunk_reader import MAX_BUFFERED, ChunkReader
from core.llm.providers.base import Chunk
from tests.support.reading import LOOP
from tests.support.waiting import wait_for


class _Endless:
    """A provider that writes faster than its reader takes."""

    def __init__(self) -> None:
        self.closed = Event()

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        while True:
            yield Chunk("x" * MAX_BUFFERED)

    async def aclose(self) -> None:
        self.closed.set()


def test_a_task_that_waits_for_room_ends_when_the_request_is_given_up() -> None:
    stream = _Endless()
    reader = ChunkReader(stream, LOOP)
    wait_for(lambda: reader._waiting == MAX_BUFFERED, what="the buffer is full")
    reader.abort()
    assert stream.closed.wait(5)
    assert reader.read_batch(timeout=5).ended
