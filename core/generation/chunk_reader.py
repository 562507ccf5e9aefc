"""Pulls an answer out of a provider on the event loop, so that a thread that writes it can keep deadlines."""

import asyncio
from concurrent.futures import Future
from contextlib import aclosing
from threading import Condition
from typing import NamedTuple

from core.llm.event_loop import EventLoop
from core.llm.providers.base import Chunk, ChunkStream, ErrorKind, FinishReason, ProviderError, Usage

MAX_BUFFERED = 256 * 1024
"""Characters that wait to be taken at most, also of one chunk; the provider is read no further until some have
been."""


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


class ChunkReader:
    """A task that reads one ChunkStream, and what it has read so far."""

    def __init__(self, stream: ChunkStream, loop: EventLoop) -> None:
        self._stream = stream
        self._changed = Condition()
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._waiting = 0
        self._alive = False
        self._finish_reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._error: ProviderError | None = None
        self._ended = False
        self._room = asyncio.Event()
        """For the task that waits while the buffer is full."""
        self._wakes: asyncio.AbstractEventLoop | None = None
        """The loop of that task, while it waits."""
        self._reading = loop.submit(self._run())
        self._reading.add_done_callback(self._end)

    def read_batch(self, timeout: float) -> Batch:
        """All that has arrived, at once if there is anything to read, else after at most `timeout` seconds."""
        with self._changed:
            if not self._waiting and not self._ended:
                self._changed.wait(timeout)
            text, thinking, alive = "".join(self._texts), "".join(self._thoughts), self._alive
            self._texts.clear()
            self._thoughts.clear()
            self._waiting, self._alive = 0, False
            if self._wakes is not None:
                self._wakes.call_soon_threadsafe(self._room.set)
                self._wakes = None
            return Batch(text, self._ended, self._finish_reason, self._usage, self._error, thinking, alive)

    def abort(self) -> None:
        """Close the connection to the provider; what arrives after this is dropped."""
        self._reading.cancel()

    async def _run(self) -> None:
        try:
            async with aclosing(self._stream):
                async for chunk in self._stream:
                    await self._put(chunk)
        except ProviderError as error:
            self._error = error
        except Exception as error:  # whatever a server sends, and whatever is made of it
            self._error = ProviderError(ErrorKind.BROKEN_STREAM, type(error).__name__)

    def _end(self, _: "Future[None]") -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    async def _put(self, chunk: Chunk) -> None:
        self._alive = True  # pings come in thousands, and are worth no wake
        await self._put_words(chunk.thinking, self._thoughts)
        await self._put_words(chunk.text, self._texts)
        with self._changed:
            # After the text: an answer must not seem to be at its end while some of it waits.
            self._finish_reason = chunk.finish_reason or self._finish_reason
            self._usage = chunk.usage or self._usage

    async def _put_words(self, words: str, into: list[str]) -> None:
        at = 0
        while at < len(words):
            with self._changed:
                piece = words[at : at + MAX_BUFFERED - self._waiting]
                into.append(piece)
                self._waiting += len(piece)
                at += len(piece)
                self._changed.notify()
                if at < len(words):
                    self._room.clear()
                    self._wakes = asyncio.get_running_loop()
            if at < len(words):
                await self._room.wait()
