"""An answer that a server goes on with: pure.

Whitespace at its end is not sent. Anthropic and the gateways to it refuse that, and other models do worse with it: to
them, a word's space is a part of the word. What they then say of it again is dropped, so the text stays contiguous.
"""

from collections.abc import Sequence

from core.llm.providers.base import Turn


def trimmed(turns: Sequence[Turn]) -> tuple[Sequence[Turn], str]:
    """The turns without whitespace at the end of an answer that is to be gone on with, and that whitespace."""
    *before, last = turns
    if last.role != "assistant":
        return turns, ""
    text = last.text.rstrip()
    return [*before, *([Turn("assistant", text)] if text else [])], last.text[len(text) :]


class Repeated:
    """Drops the whitespace that was left out when the model says it again."""

    def __init__(self, left_out: str) -> None:
        self._left_out = left_out

    def drop(self, text: str) -> str:
        """The rest of a piece of the answer."""
        while self._left_out and text.startswith(self._left_out[0]):
            self._left_out, text = self._left_out[1:], text[1:]
        if text:
            self._left_out = ""
        return text
