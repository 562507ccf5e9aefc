"""Pulls an answer out of a provider in a thread of its own, so that its reader can keep deadlines."""

from threading import Condition, Thread
from typing import NamedTuple

from core.providers import Chunk, ChunkStream, ErrorKind, ProviderError, Usage

BUFFER = 256 * 1024
"""Characters that wait to be taken at most, also of one chunk; the provider is read no further until some have
been."""


class Batch(NamedTuple):
    """What has arrived since the last look."""

    text: str
    ended: bool
    finish_reason: str | None
    usage: Usage | None
    error: ProviderError | None


class Pump:
    """A thread that reads one ChunkStream, and what it has read so far."""

    def __init__(self, stream: ChunkStream) -> None:
        self._stream = stream
        self._changed = Condition()
        self._texts: list[str] = []
        self._waiting = 0
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._error: ProviderError | None = None
        self._ended = False
        self._aborted = False
        Thread(target=self._run, name="pump", daemon=True).start()

    def take(self, wait: float) -> Batch:
        """All that has arrived, at once if there is anything, else after at most `wait` seconds."""
        with self._changed:
            if not self._texts and not self._ended:
                self._changed.wait(wait)
            text = "".join(self._texts)
            self._texts.clear()
            self._waiting = 0
            self._changed.notify()
            return Batch(text, self._ended, self._finish_reason, self._usage, self._error)

    def abort(self) -> None:
        """Close the connection to the provider; what arrives after this is dropped."""
        with self._changed:
            self._aborted = True
            self._changed.notify()
        self._stream.abort()

    def _run(self) -> None:
        try:
            for chunk in self._stream:
                if self._aborted:
                    break
                self._put(chunk)
        except ProviderError as error:
            self._error = error
        except Exception as error:  # whatever a server sends, and whatever the SDK makes of it
            self._error = ProviderError(ErrorKind.BROKEN_STREAM, type(error).__name__)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _put(self, chunk: Chunk) -> None:
        with self._changed:
            at = 0
            while at < len(chunk.text) and not self._aborted:
                piece = chunk.text[at : at + BUFFER - self._waiting]
                if piece:
                    self._texts.append(piece)
                    self._waiting += len(piece)
                    at += len(piece)
                    self._changed.notify()
                else:
                    self._changed.wait()
            # After the text: an answer must not seem to be at its end while some of it waits.
            self._finish_reason = chunk.finish_reason or self._finish_reason
            self._usage = chunk.usage or self._usage
