"""An answer while it is being written, as the log has it."""

from datetime import datetime
from io import StringIO
from threading import Lock

from core.conversation.partial_answer import PartialAnswer, Size
from core.generation.thinking import Thinking


class _Words:
    """Words that grow, and are counted as they come."""

    def __init__(self, text: str = "") -> None:
        self._written = StringIO()  # a string that grows by as little as a token would be copied each time
        self.length = 0
        """Characters."""
        self.size = 0
        """Bytes of UTF-8."""
        self.add(text)

    @property
    def text(self) -> str:
        return self._written.getvalue()

    def add(self, text: str) -> None:
        self._written.write(text)
        self.length += len(text)
        self.size += len(text) if text.isascii() else len(text.encode())


class Draft:
    """The text and the thinking of one answer.

    Only GenerationEvents calls the methods that change it: what readers see of it changes once the log has taken the
    event that says so. All others read values, in any thread.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._text = _Words()
        self._thoughts = _Words()
        self._thinking_ms = 0
        self._stale = False
        self.begun_at: datetime | None = None
        """When its first words came, or the first of its thinking. None when another attempt has written them."""

    @property
    def text(self) -> str:
        """The answer so far. Its first character is one that can be seen."""
        return self._text.text

    @property
    def length(self) -> int:
        """Characters of the text, which costs less than the text does."""
        return self._text.length

    @property
    def thinking(self) -> Thinking:
        """The thinking for it so far."""
        with self._lock:
            return Thinking(self._thoughts.text, self._thinking_ms, self._stale)

    @property
    def thinking_length(self) -> int:
        """Characters of the thinking."""
        return self._thoughts.length

    @property
    def thinking_ms(self) -> int:
        """Milliseconds that the thinking has taken so far."""
        return self._thinking_ms

    @property
    def thinking_is_stale(self) -> bool:
        """Whether the next word of thinking begins it again."""
        return self._stale

    @property
    def size(self) -> Size:
        """What the log holds of it."""
        return Size(self._text.size, self._thoughts.size)

    @property
    def is_empty(self) -> bool:
        """Whether readers have seen neither text nor thinking."""
        return not (self._text.length or self._thoughts.length)

    @property
    def partial(self) -> PartialAnswer:
        """All of it, as a value."""
        with self._lock:
            return PartialAnswer(self._text.text, self._thoughts.text, self._thinking_ms)

    def restore(self, partial: PartialAnswer) -> None:
        """Go on from what another attempt has left."""
        with self._lock:
            self._text, self._thoughts = _Words(partial.text), _Words(partial.thinking)
            self._thinking_ms, self._stale = partial.thinking_ms, False

    def begin_request(self) -> None:
        """A model is being asked. Of an answer without a word, the thinking begins again with its next word."""
        self._stale = not self._text.length

    def add_text(self, text: str, thinking_ms: int) -> None:
        """Add the next words. All thinking has taken `thinking_ms` milliseconds by now."""
        with self._lock:
            self._text.add(text)
            self._thinking_ms = thinking_ms

    def add_thinking(self, text: str, thinking_ms: int) -> None:
        """Add what the model thinks next. All thinking has taken `thinking_ms` milliseconds by now."""
        with self._lock:
            if self._stale:
                self._thoughts, self._stale = _Words(), False
            self._thoughts.add(text)
            self._thinking_ms = thinking_ms

    def drop_thinking(self) -> None:
        """Drop all the thinking."""
        with self._lock:
            self._thoughts, self._thinking_ms, self._stale = _Words(), 0, False
