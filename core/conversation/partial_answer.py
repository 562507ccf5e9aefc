"""The answer that is being written, as the log has it, and what one event adds to it: pure values."""

from typing import NamedTuple


class PartialAnswer(NamedTuple):
    """All of the answer so far."""

    text: str = ""
    thinking: str = ""
    thinking_ms: int = 0
    """Milliseconds that the thinking has taken."""

    @property
    def size(self) -> "Size":
        """What the log holds of it."""
        return Size(len(self.text.encode()), len(self.thinking.encode()))


class Size(NamedTuple):
    """How much of an answer the log must hold before an event; else Redis has lost some of it."""

    text_size: int = 0
    """Bytes of UTF-8."""
    thinking_size: int = 0
    """Bytes of UTF-8."""


class Delta(NamedTuple):
    """What one event adds to the answer."""

    text: str = ""
    thinking: str = ""
    resets_thinking: bool = False
    """Whether the thinking so far goes first, because it begins again."""
    thinking_ms: int = 0
    """Milliseconds that all the thinking has taken, this included."""


EMPTY = Size()
NOTHING = Delta()
NO_WORDS = PartialAnswer()
