"""Drops what a model repeats when it is asked to go on with an answer: pure, over the pieces as they come.

Only for servers that begin a new message. Where a server continues the message itself (`prefill`), nothing is
ever dropped: answers do repeat themselves.
"""

MAX_OVERLAP = 400
"""Characters of the answer's end that a model may repeat."""
MIN_OVERLAP = 8
"""Characters below which a repetition is taken for chance: a space, an article."""


class Overlap:
    """Holds back the beginning of a continuation until it is clear how much of it repeats the end of the answer."""

    def __init__(self, before: str) -> None:
        self._tail = before[-MAX_OVERLAP:]
        self._held = ""
        self._decided = not before

    def feed(self, piece: str) -> str:
        """What of the text so far may be passed on."""
        if self._decided:
            return piece
        self._held += piece
        if self._may_grow():
            return ""
        return self.flush()

    def flush(self) -> str:
        """No more is needed, or will come: what was held back, without what repeats."""
        if self._decided:
            return ""
        self._decided = True
        return self._held[self._repeated() :]

    def _may_grow(self) -> bool:
        """Whether everything held so far could still be the beginning of a repetition."""
        return self._held in self._tail[:-1]

    def _repeated(self) -> int:
        """The length of the longest beginning of the held text that is also an end of the answer."""
        longest = min(len(self._held), len(self._tail))
        for length in range(longest, MIN_OVERLAP - 1, -1):
            if self._tail.endswith(self._held[:length]):
                return length
        return 0
