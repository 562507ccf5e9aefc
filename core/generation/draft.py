"""An answer while it is being written, as the log has it."""

from dataclasses import replace

from core.conversation.partial_answer import PartialAnswer
from core.generation.thinking import Thinking


class Draft:
    """The text and the thinking of one answer.

    Only GenerationEvents calls the methods that change it: what readers see of it changes once the log has taken the
    event that says so. All others read values.
    """

    def __init__(self) -> None:
        self._text = ""
        self._thinking = Thinking()

    @property
    def text(self) -> str:
        """The answer so far. Its first character is one that can be seen."""
        return self._text

    @property
    def thinking(self) -> Thinking:
        """The thinking for it so far."""
        return self._thinking

    @property
    def is_empty(self) -> bool:
        """Whether readers have seen neither text nor thinking."""
        return not (self._text or self._thinking.text)

    @property
    def partial(self) -> PartialAnswer:
        """All of it, as a value."""
        return PartialAnswer(self._text, self._thinking.text, self._thinking.milliseconds)

    def restore(self, partial: PartialAnswer) -> None:
        """Go on from what another attempt has left."""
        self._text = partial.text
        self._thinking = Thinking(partial.thinking, partial.thinking_ms)

    def begin_request(self) -> None:
        """A model is being asked. Of an answer without a word, the thinking begins again with its next word."""
        self._thinking = replace(self._thinking, stale=not self._text)

    def add_text(self, text: str, thinking_ms: int) -> None:
        """Add the next words. All thinking has taken `thinking_ms` milliseconds by now."""
        self._text += text
        self._thinking = replace(self._thinking, milliseconds=thinking_ms)

    def add_thinking(self, text: str, thinking_ms: int) -> None:
        """Add what the model thinks next. All thinking has taken `thinking_ms` milliseconds by now."""
        self._thinking = self._thinking.plus(text, thinking_ms)

    def drop_thinking(self) -> None:
        """Drop all the thinking."""
        self._thinking = Thinking()
