"""Ends an answer before the first of its stop sequences: pure, over the pieces of its text as they come.

Not every server does, and those that refuse the parameter are asked without it.
"""

from collections.abc import Sequence


class StopSequences:
    """Of one request. What may be the beginning of a sequence is held back until it is known."""

    def __init__(self, sequences: Sequence[str] = (), before: str = "") -> None:
        """`before`: what an earlier request has written of the answer, at whose end a sequence may have begun. That
        is told already, so the answer ends where it broke off when the rest of the sequence comes."""
        self._sequences = sequences
        self._held = ""
        self._longest = max(map(len, sequences), default=0)
        self._told = ""
        self._tell(before)
        self.met = False
        """Whether a sequence has come: the answer ends with what was passed on."""

    def feed(self, text: str) -> str:
        """What of the text so far may be passed on."""
        if not self._sequences or not text:
            return text
        if self.met:
            return ""
        text, self._held = self._held + text, ""
        told = len(self._told)
        places = [place for sequence in self._sequences if (place := (self._told + text).find(sequence)) >= 0]
        if places:
            self.met = True
            return text[: max(0, min(places) - told)]
        end = max(0, len(text) - self._begun(self._told + text))
        self._held = text[end:]
        self._tell(text[:end])
        return text[:end]

    def flush(self) -> str:
        """What is held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held

    def _tell(self, text: str) -> None:
        """Keep the end of what has been told, which no whole sequence fits into."""
        told = self._told + text
        self._told = told[max(0, len(told) - self._longest + 1) :] if self._longest else ""

    def _begun(self, text: str) -> int:
        """Characters at the text's end with which a sequence begins."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if any(sequence.startswith(text[-length:]) for sequence in self._sequences):
                return length
        return 0
