"""How many bytes a token of each model has: learned from what providers report, and shared by all workers."""

import math
from collections.abc import Sequence
from contextlib import suppress

from core.errors import Unavailable
from core.generation.context_window import Window, bytes_per_token
from core.llm.providers.base import Turn
from core.stores.recent import Recent
from core.stores.redis import Redis

DEFAULT_BYTES_PER_TOKEN = 3.5
"""Bytes: English has about 4, Chinese about 3."""
MIN_BYTES_PER_TOKEN, MAX_BYTES_PER_TOKEN = 0.25, 8.0
MAX_STEP = 1.03
"""By how much one answer can change it."""
MIN_WINDOW_SHARE = 8
"""A request that fills less than this part of the window says more of the model's template than of texts; and where
conversations are that short, nothing needs to be known."""
MAX_AGE = 1.0
"""Seconds for which a process goes on with what it has read."""
TOKEN_SIZE_TTL = 7 * 24 * 3600
"""Seconds for which it is kept after the last answer that said something."""


def moved(known: float, seen: float) -> float:
    """What is known after one more answer.

    A small step towards what was seen, however far that is: so it becomes the median of what is seen, and a
    person with fewer than half of the questions can't move it beyond what the others' texts have.
    """
    towards = min(max(seen, known / MAX_STEP), known * MAX_STEP)
    return min(max(towards, MIN_BYTES_PER_TOKEN), MAX_BYTES_PER_TOKEN)


class TokenSizes:
    """A number for each model, in Redis. Without Redis it is the usual one."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._recent = Recent(self._read, MAX_AGE)

    def for_model(self, model: str) -> float:
        """Bytes of a token, in the middle, as they were known a second ago."""
        return self._recent.get(model)

    def _read(self, model: str) -> float:
        try:
            known = float(str(self._redis.get(_key(model))))
        except (Unavailable, ValueError):
            return DEFAULT_BYTES_PER_TOKEN
        return (
            min(max(known, MIN_BYTES_PER_TOKEN), MAX_BYTES_PER_TOKEN)
            if math.isfinite(known)
            else DEFAULT_BYTES_PER_TOKEN
        )

    def learn(self, model: str, window: Window, turns: Sequence[Turn], prompt_tokens: int) -> None:
        """The model's provider has counted so many tokens in these turns."""
        if prompt_tokens < 1 or window.taken_by(turns) * MIN_WINDOW_SHARE < window.room:
            return
        # Of two workers that learn at once, one may be forgotten.
        known = moved(self._read(model), bytes_per_token(turns, prompt_tokens))
        with suppress(Unavailable):
            self._redis.set(_key(model), f"{known:.4f}", ex=TOKEN_SIZE_TTL)
        self._recent.forget(model)


def _key(model: str) -> str:
    return f"sb:bytes-per-token:{model}"
