"""How many tokens each model really takes, where its server has named fewer than its table: shared by all workers."""

from contextlib import suppress

from core.errors import Unavailable
from core.generation.context_window import Figures
from core.stores.recent import Recent
from core.stores.redis import Redis

MIN_KNOWN_LIMIT = 256
"""Tokens. No model takes fewer; a server that says so speaks of something else."""
MAX_AGE = 1.0
"""Seconds for which a process goes on with what it has read."""
KNOWN_LIMIT_TTL = 24 * 3600
"""Seconds. Then a server that has been given a larger context since is asked with more, once."""


class KnownLimits:
    """A number for each model, in Redis. Without Redis each conversation finds it out by itself."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._recent = Recent(self._read, MAX_AGE)

    def for_model(self, model: str) -> int | None:
        """What its server has named, as it was known a second ago."""
        return self._recent.get(model)

    def _read(self, model: str) -> int | None:
        try:
            known = int(str(self._redis.get(_key(model))))
        except (Unavailable, ValueError):
            return None
        return known if known >= MIN_KNOWN_LIMIT else None

    def learn(self, model: str, figures: Figures) -> None:
        """The server has refused a conversation with these."""
        tokens, limit = figures
        if tokens is not None and limit is not None and tokens > limit >= MIN_KNOWN_LIMIT:
            with suppress(Unavailable):
                self._redis.set(_key(model), limit, ex=KNOWN_LIMIT_TTL)
            self._recent.forget(model)

    def took(self, model: str, prompt_tokens: int) -> None:
        """The server has answered a prompt of so many."""
        known = self.for_model(model)
        if known is not None and prompt_tokens > known:
            with suppress(Unavailable):
                self._redis.delete(_key(model))
            self._recent.forget(model)


def _key(model: str) -> str:
    return f"sb:token-limit:{model}"
