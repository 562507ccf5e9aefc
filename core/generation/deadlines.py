"""How long a provider may be silent, and how long it may take altogether: pure, over the moments that it is given."""

from core.generation.batch import Batch
from core.llm.providers.base import ErrorKind, ProviderError

DRAIN_TIMEOUT = 2.0
"""Seconds that a server has after the end of its answer, to tell what it has counted and to close."""
MAX_REQUEST_TIME = 3600.0
"""Seconds that one request may take, for servers that never come to an end."""


class Deadlines:
    """With one request, that is sent `now`. Timeouts are in seconds, and moments those of one clock.

    Whatever comes is a sign of life, and begins the wait anew: the long one until the first word of the answer has
    come, for some servers tell of a model's thinking once in minutes, and then the short one. After the end only
    words do.
    """

    def __init__(self, first_token_timeout: float, between_tokens_timeout: float, now: float) -> None:
        self._between = between_tokens_timeout
        self._wait = first_token_timeout
        self._finished = False
        self._heard_at = now
        self._until = now + MAX_REQUEST_TIME

    def pause(self, seconds: float) -> None:
        """Don't count the last so many seconds: nobody has listened."""
        self._heard_at += seconds
        self._until += seconds

    def expired(self, batch: Batch, now: float, *, begun: bool) -> bool:
        """Whether the answer is at its end, with what has just come: nothing more will come, or is waited for.
        `begun`: a word of the answer that can be seen has come.

        Raises ProviderError when it has been silent for too long in the middle.
        """
        if batch.finish_reason and not self._finished:
            self._finished = True
            self._heard_at, self._wait = now, min(DRAIN_TIMEOUT, self._between)
        elif batch.text or batch.thinking or (batch.alive and not self._finished):
            self._heard_at = now
        if begun and not self._finished:
            self._wait = self._between
        if batch.ended or now > self._until:
            return True
        if now - self._heard_at <= self._wait:
            return False
        if not self._finished:
            raise ProviderError(ErrorKind.TIMEOUT, "silent")
        return True
