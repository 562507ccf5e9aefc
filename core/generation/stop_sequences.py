"""Ends an answer before the first of its stop sequences: pure, over the pieces of its text as they come.

Not every server does, and those that refuse the parameter are asked without it.
"""

from collections.abc import Sequence


class StopSequences:
    """Of one request. What may be the beginning of a sequence is held back until it is known.

    So no sequence begins in what an earlier request has told of the answer: what that held back when it broke off was
    not told, and is written again.
    """

    def __init__(self, sequences: Sequence[str] = ()) -> None:
        self._sequences = sequences
        self._held = ""
        self._longest = max(map(len, sequences), default=0)
        self.met = False
        """Whether a sequence has come: the answer ends with what was passed on."""

    def feed(self, text: str) -> str:
        """What of the text so far may be passed on."""
        if not self._sequences or not text:
            return text
        if self.met:
            return ""
        text, self._held = self._held + text, ""
        places = [place for sequence in self._sequences if (place := text.find(sequence)) >= 0]
        if places:
            self.met = True
            return text[: min(places)]
        end = len(text) - self._begun(text)
        self._held = text[end:]
        return text[:end]

    def flush(self) -> str:
        """What is held back, when the answer is at its end."""
        held, self._held = self._held, ""
        return held

    def _begun(self, text: str) -> int:
        """Characters at the text's end with which a sequence begins."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if any(sequence.startswith(text[-length:]) for sequence in self._sequences):
                return length
        return 0
