"""Reads answers on an event loop, as the workers do, for tests that are no coroutines."""

from collections.abc import Callable

import uvloop

from core.generation.batch import Batch, Inbox
from core.llm.event_loop import EventLoop
from core.llm.providers.base import Chunk, ChunkStream

LOOP = EventLoop(uvloop.new_event_loop)
"""Of all tests that bring no own one."""


def read(stream: ChunkStream, tell: Callable[[Chunk], None] = lambda _: None, loop: EventLoop = LOOP) -> list[Chunk]:
    """All chunks of an answer, each of which `tell` is told as it comes. Raises ProviderError."""
    return loop.run(_read(stream, tell))


async def _read(stream: ChunkStream, tell: Callable[[Chunk], None]) -> list[Chunk]:
    chunks = []
    async for chunk in stream:
        tell(chunk)
        chunks.append(chunk)
    return chunks


def read_text(stream: ChunkStream) -> str:
    """The text of an answer. Raises ProviderError."""
    return "".join(chunk.text for chunk in read(stream))


class ChunkReader:
    """An answer that is read as the workers do, and what has come of it."""

    def __init__(self, stream: ChunkStream) -> None:
        self._inbox = Inbox()
        self._reading = LOOP.submit(self._inbox.fill(stream))

    def read_batch(self, timeout: float) -> Batch:
        """What has arrived since the last look."""
        return LOOP.run(self._inbox.take(timeout))

    def abort(self) -> None:
        """Give it up."""
        self._reading.cancel()
