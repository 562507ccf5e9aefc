"""The task that reads a provider: it ends with the request, whatever it waits for."""

import asyncio
from collections.abc import AsyncIterator

from core.generation.batch import MAX_BUFFERED, Inbox
from core.llm.providers.base import Chunk
from tests.support.reading import LOOP


class _Endless:
    """A provider that writes faster than its reader takes."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        while True:
            self.given += 1
            yield Chunk("x" * MAX_BUFFERED)

    async def aclose(self) -> None:
        self.closed = True


def test_a_task_that_waits_for_room_ends_when_the_request_is_given_up() -> None:
    stream = _Endless()

    async def give_up() -> None:
        reading = asyncio.create_task(Inbox().fill(stream))
        while stream.given < 2:
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    LOOP.run(give_up())
    assert stream.closed
    assert stream.given == 2, "no more is read than has room"
