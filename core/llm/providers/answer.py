"""One answer, from the bytes of a response's body to chunks: pure, fed the bytes as they come."""

from collections.abc import Iterator
from typing import Protocol

from core.llm.providers.base import Chunk, ErrorKind, ProviderError
from core.llm.providers.errors import RequestRefused
from core.llm.providers.events import EventReader, ProviderEvent
from core.llm.providers.prefill import Repeated
from core.llm.providers.tail_buffer import TailBuffer
from core.llm.providers.think_tags import Parts, ThinkTags
from core.text.characters import storable


class Interpreter(Protocol):
    """What one protocol's events mean, for one answer."""

    over: bool
    """Whether nothing more is to come."""
    refuses: bool
    """Whether the model has begun to decline, in words that hold no thinking."""

    def feed(self, event: ProviderEvent) -> Iterator[Chunk]:
        """The chunks of an event. Raises RequestRefused for an error, and what an event of another shape makes it."""
        ...


class Answer:
    """A response's body. What it is fed with gives at least one chunk each time, for it is a sign of life."""

    def __init__(self, interpreter: Interpreter, tags: ThinkTags | None, left_out: str = "") -> None:
        """`tags`: when the answer's text is to begin with thinking; `left_out`: whitespace at the end of what it goes
        on with, which the server has not seen."""
        self._events = EventReader()
        self._interpreter = interpreter
        self._tags = tags
        self._repeated = Repeated(left_out)
        self._text, self._thinking = _Characters(), _Characters()
        self._said = False
        """Whether a word of text has come."""
        self._finished = False
        self._written, self._thought = TailBuffer(), TailBuffer()

    @property
    def over(self) -> bool:
        """Whether the rest of the body need not be read."""
        return self._interpreter.over

    @property
    def written(self) -> tuple[str, str]:
        """The end of the text and of the thinking as they came, passed on or not: an error may quote them."""
        return str(self._written), str(self._thought)

    def feed(self, piece: bytes) -> Iterator[Chunk]:
        """The chunks that the piece completes. Raises RequestRefused or ProviderError, but none once the answer has
        ended."""
        silent = True
        for chunk in self._chunks(self._events.feed(piece)):
            silent = False
            yield chunk
        if silent:
            yield Chunk()

    def end(self) -> Iterator[Chunk]:
        """What is left when the body has ended. Raises as `feed` does, and when that was not the answer's end."""
        yield from self._chunks(self._events.end())
        if self._tags:
            yield self._whole(Chunk(), self._tags.flush())
        if not self._finished:
            # A connection that just ends looks like the end of the answer.
            raise ProviderError(ErrorKind.BROKEN_STREAM, "ended without a finish reason")

    def broken(self, error: ProviderError) -> None:
        """The connection has failed: raises the error, unless all has been said."""
        if not self._finished:
            raise error

    def _chunks(self, events: Iterator[ProviderEvent]) -> Iterator[Chunk]:
        try:
            for event in events:
                if self.over:
                    return
                for chunk in self._interpreter.feed(event):
                    self._finished = self._finished or chunk.finish_reason is not None
                    if chunk.text:
                        self._written.add(chunk.text)
                    if chunk.thinking:
                        self._thought.add(chunk.thinking)
                    yield self._taken_apart(chunk, self._repeated.drop(chunk.text))
        except (ProviderError, RequestRefused):
            if not self._finished:  # else it is only the parting
                raise
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            if not self._finished:
                # Not `from error`: its message may quote the server.
                raise ProviderError(
                    ErrorKind.BROKEN_STREAM, f"an event of another shape: {type(error).__name__}"
                ) from None

    def _taken_apart(self, chunk: Chunk, text: str) -> Chunk:
        """The chunk, with this text instead of its own."""
        if chunk.thinking and not self._said:
            self._tags = self._tags or ThinkTags()
            self._tags.beside()
        self._said = self._said or bool(text.strip())
        if self._tags is None:
            return self._whole(chunk, Parts(text))
        if self._interpreter.refuses:
            before = self._tags.flush()
            return self._whole(chunk, Parts(before.text + text, before.thinking))
        parts = self._tags.feed(text)
        if chunk.finish_reason:
            rest = self._tags.flush(complete=chunk.finish_reason == "stop")
            parts = Parts(parts.text + rest.text, parts.thinking + rest.thinking)
        return self._whole(chunk, parts)

    def _whole(self, chunk: Chunk, parts: Parts) -> Chunk:
        thinking = self._thinking.feed(chunk.thinking + parts.thinking)
        return Chunk(self._text.feed(parts.text), chunk.finish_reason, chunk.usage, thinking)


class _Characters:
    """Makes whole characters of what came as JSON.

    A server that cuts its text by UTF-16 can send the halves of a character in two chunks. Half a character that
    stays alone could not be encoded later on, and NUL not be stored.
    """

    def __init__(self) -> None:
        self._half = ""
        """The first half of a character, whose second one may come."""

    def feed(self, text: str) -> str:
        if not text:
            return ""
        text = self._half + text
        self._half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        return storable(text.removesuffix(self._half))
