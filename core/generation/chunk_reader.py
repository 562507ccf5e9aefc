"""Pulls an answer out of a provider in a thread of its own, so that its reader can keep deadlines."""

from threading import Condition, Thread

from core.generation.batch import MAX_BUFFERED as MAX_BUFFERED
from core.generation.batch import Batch
from core.llm.providers.base import Chunk, ChunkStream, ErrorKind, FinishReason, ProviderError, Usage


class ChunkReader:
    """A thread that reads one ChunkStream, and what it has read so far."""

    def __init__(self, stream: ChunkStream) -> None:
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
        self._aborted = False
        Thread(target=self._run, name="chunk-reader", daemon=True).start()

    def read_batch(self, timeout: float) -> Batch:
        """All that has arrived, at once if there is anything to read, else after at most `timeout` seconds."""
        with self._changed:
            if not self._waiting and not self._ended:
                self._changed.wait(timeout)
            text, thinking, alive = "".join(self._texts), "".join(self._thoughts), self._alive
            self._texts.clear()
            self._thoughts.clear()
            self._waiting, self._alive = 0, False
            self._changed.notify()
            return Batch(text, self._ended, self._finish_reason, self._usage, self._error, thinking, alive)

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
            self._alive = True  # pings come in thousands, and are worth no wake
            self._put_words(chunk.thinking, self._thoughts)
            self._put_words(chunk.text, self._texts)
            # After the text: an answer must not seem to be at its end while some of it waits.
            self._finish_reason = chunk.finish_reason or self._finish_reason
            self._usage = chunk.usage or self._usage

    def _put_words(self, words: str, into: list[str]) -> None:
        at = 0
        while at < len(words) and not self._aborted:
            piece = words[at : at + MAX_BUFFERED - self._waiting]
            if piece:
                into.append(piece)
                self._waiting += len(piece)
                at += len(piece)
                self._changed.notify()
            else:
                self._changed.wait()
