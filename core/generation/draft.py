"""An answer while it is being written, as the log has it."""

from core.conversation.partial_answer import PartialAnswer
from core.generation.thinking import Thinking


class Draft:
    """The text and the thinking of one answer. It changes only after the log has taken the event that says so."""

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

    def add_text(self, text: str) -> None:
        """Add the next words."""
        self._text += text
