"""What has come of a model's answer and waits to be written."""

import asyncio
from contextlib import aclosing
from typing import NamedTuple

from core.llm.providers.base import Chunk, ChunkStream, ErrorKind, FinishReason, ProviderError, Usage

MAX_BUFFERED = 256 * 1024
"""Characters that wait to be taken at most, also of one chunk; the provider is read no further until some have
been."""
MAX_EMPTY = 20_000
"""Pieces without a word that may come between two words: several a second for the hour that a request may take."""
TURN = 8
"""Chunks of one answer that are read before others have their turn, however many there are."""


class Batch(NamedTuple):
    """What has arrived since the last look."""

    text: str = ""
    ended: bool = False
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: ProviderError | None = None
    thinking: str = ""
    alive: bool = False
    """Whether anything has come at all, also what says nothing."""


class Inbox:
    """Between the coroutine that reads one provider and the one that writes what has come, on one event loop."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._waiting = 0
        self._alive = False
        self._finish_reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._error: ProviderError | None = None
        self._ended = False
        self._arrived: asyncio.Future[None] | None = None
        self._room = asyncio.Event()

    async def fill(self, stream: ChunkStream) -> None:
        """Read a provider to its end, no faster than what it says is taken, and close the stream."""
        read = empty = 0
        try:
            async with aclosing(stream):
                async for chunk in stream:
                    await self._put(chunk)
                    read += 1
                    empty = 0 if chunk.text or chunk.thinking else empty + 1
                    if empty > MAX_EMPTY:
                        raise ProviderError(ErrorKind.BROKEN_STREAM, "pieces without a word, again and again")
                    if read % TURN == 0:
                        await asyncio.sleep(0)
        except ProviderError as error:
            self._error = error
        except Exception as error:  # whatever a server sends, and whatever is made of it
            self._error = ProviderError(ErrorKind.BROKEN_STREAM, type(error).__name__)
        self._ended = True
        self._wake()

    async def take(self, timeout: float) -> Batch:
        """All that has arrived, at once if there is anything to read, else after at most `timeout` seconds."""
        if not self._waiting and not self._ended:
            await self._arrival(timeout)
        text, thinking, alive = "".join(self._texts), "".join(self._thoughts), self._alive
        self._texts.clear()
        self._thoughts.clear()
        self._waiting, self._alive = 0, False
        self._room.set()
        return Batch(text, self._ended, self._finish_reason, self._usage, self._error, thinking, alive)

    async def _put(self, chunk: Chunk) -> None:
        self._alive = True  # pings come in thousands, and are worth no wake
        if chunk.thinking:
            await self._put_words(chunk.thinking, self._thoughts)
        if chunk.text:
            await self._put_words(chunk.text, self._texts)
        # After the text: an answer must not seem to be at its end while some of it waits.
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self._usage = chunk.usage or self._usage

    async def _put_words(self, words: str, into: list[str]) -> None:
        while len(words) > (room := MAX_BUFFERED - self._waiting):
            self._append(words[:room], into)
            words = words[room:]
            self._room.clear()
            await self._room.wait()
        self._append(words, into)

    def _append(self, words: str, into: list[str]) -> None:
        into.append(words)
        self._waiting += len(words)
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def _arrival(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self._arrived = loop.create_future()
        timer = loop.call_later(timeout, self._wake)
        try:
            await self._arrived
        finally:
            timer.cancel()
