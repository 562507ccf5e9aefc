"""What a model says to itself, and how long: pure, over what comes and the moments at which it came."""

from dataclasses import dataclass

from core.conversation.message import whole_seconds

MAX_THINKING_LENGTH = 200_000
"""Characters of thinking that are kept and told; what a model thinks beyond is only a sign that it lives."""


@dataclass
class Thinking:
    """The thinking for one answer, by all models and workers that have written it.

    A phase of it lasts from its first word to the first word of the answer that follows; phases add up.
    """

    text: str = ""
    lasted: int = 0
    """Milliseconds, of the phases that are over."""
    stale: bool = False
    """Whether its next word begins it again: a request for an answer without a word makes the model think anew."""
    _since: float | None = None
    _latest: float = 0.0

    @property
    def room(self) -> int:
        """Characters that may be added."""
        return MAX_THINKING_LENGTH if self.stale else MAX_THINKING_LENGTH - len(self.text)

    @property
    def milliseconds(self) -> int:
        """How long it has taken so far; a phase that nothing has followed yet, up to its latest word."""
        return self.lasted + (0 if self._since is None else round(1000 * (self._latest - self._since)))

    @property
    def seconds(self) -> int | None:
        """How long, as people are told; None when nothing has been thought."""
        return whole_seconds(self.text, self.milliseconds)

    def begin_request(self, *, anew: bool) -> None:
        """A model is being asked. `anew`: the answer has no word yet, so thinking begins again with its next word."""
        self.stale = anew

    def heard(self, thinking: bool, text: bool, now: float) -> None:
        """Something has come `now`, in seconds of one clock: thinking, words of the answer, both or neither."""
        if thinking:
            if self.stale:
                self.lasted, self._since = 0, None
            self._since = now if self._since is None else self._since
            self._latest = now
        if text and self._since is not None:
            self._latest = now
            self.lasted, self._since = self.milliseconds, None

    def add(self, text: str) -> None:
        """Keep these words; the first ones of stale thinking in place of all before."""
        self.text = text if self.stale else self.text + text
        self.stale = False

    def settle(self) -> None:
        """Keep all of it: the answer has begun."""
        self.stale = False

    def forget(self) -> None:
        """Drop all of it, until it begins again."""
        self.text, self.lasted, self.stale, self._since = "", 0, False, None
