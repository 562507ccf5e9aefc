"""Holds back the blanks before the first word of an answer, or of thinking: pure, over the pieces as they come.

An answer of nothing but blanks is none. Another model may be asked in its place then, and begins where no reader has
read anything yet.
"""

from core.text.characters import blank

MAX_LEADING_BLANKS = 10_000
"""Blanks before the first word; a model that says more of them has lost itself."""


class LeadingBlanks:
    """Of one request's text."""

    def __init__(self, begun: bool) -> None:
        """`begun`: the answer has words already, and nothing is held back."""
        self._begun = begun
        self._held: list[str] = []
        self._length = 0

    @property
    def too_long(self) -> bool:
        """Whether no word can be expected any more."""
        return self._length > MAX_LEADING_BLANKS

    def feed(self, text: str) -> str:
        """What of the text so far may be passed on."""
        if self._begun or not text:
            return text
        if self.too_long:
            return ""
        self._held.append(text)
        self._length += len(text)
        if blank(text):
            return ""
        self._begun, self._length = True, 0
        return "".join(self._held)
