"""What a model says to itself, and for how long: values, and a clock over the moments at which words came."""

from dataclasses import dataclass

from core.conversation.message import whole_seconds

MAX_THINKING_LENGTH = 200_000
"""Characters of thinking that are kept and told; what a model thinks beyond is only a sign that it lives."""


@dataclass(frozen=True)
class Thinking:
    """The thinking for one answer, by all models and workers that have written it."""

    text: str = ""
    milliseconds: int = 0
    """How long it has taken so far."""
    stale: bool = False
    """Whether its next word begins it again: a request for an answer without a word makes the model think anew."""

    @property
    def room(self) -> int:
        """Characters that may be added."""
        return MAX_THINKING_LENGTH if self.stale else MAX_THINKING_LENGTH - len(self.text)

    @property
    def seconds(self) -> int | None:
        """How long, as people are told; None when nothing has been thought."""
        return whole_seconds(self.text, self.milliseconds)


class ThinkingClock:
    """How long the thinking for one answer takes, over one request.

    A phase of it lasts from its first word to the first word of the answer that follows, or up to its latest word if
    none follows; phases add up.
    """

    def __init__(self, before: Thinking) -> None:
        """`before`: what the request begins with. The time of stale thinking does not count."""
        self._lasted = 0 if before.stale else before.milliseconds
        """Milliseconds, of the phases that are over."""
        self._since: float | None = None
        self._latest = 0.0

    @property
    def milliseconds(self) -> int:
        """How long so far."""
        return self._lasted + (0 if self._since is None else round(1000 * (self._latest - self._since)))

    def note(self, thinking: bool, text: bool, now: float) -> None:
        """Something has come `now`, in seconds of one clock: thinking, words of the answer, both or neither."""
        if thinking:
            self._since = now if self._since is None else self._since
            self._latest = now
        if text and self._since is not None:
            self._latest = now
            self._lasted, self._since = self.milliseconds, None
