"""Models whose provider has failed rest for a while, for all workers, and are probed before they are back."""

from collections.abc import Sequence

from redis import Redis

from core.providers import ErrorKind, ProviderError

REST = {
    ErrorKind.UNREACHABLE: 5.0,
    ErrorKind.TIMEOUT: 10.0,
    ErrorKind.UNAUTHORIZED: 60.0,
    ErrorKind.RATE_LIMITED: 10.0,
    ErrorKind.SERVER_ERROR: 5.0,
    ErrorKind.BROKEN_STREAM: 2.0,
}
"""Seconds, by what went wrong. A request that was rejected says nothing about the next one."""
LONGEST = 120.0
"""Seconds that a provider can ask for at the most."""
SUSPECTED = 10
"""Times its rest that a model stays suspect: then a quiet model is taken for well."""
PROBE = 15
"""Seconds within which one request at a time tries a suspect model."""


class Cooldowns:
    """What is known of models' health, in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def rest(self, model: str, error: ProviderError) -> None:
        """The model has just failed."""
        if error.kind not in REST:
            return
        seconds = min(LONGEST, max(REST[error.kind], error.retry_after or 0))
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(_key("resting", model), error.kind, px=int(seconds * 1000))
            pipe.set(_key("suspect", model), error.kind, px=int(seconds * 1000 * SUSPECTED))
            pipe.delete(_key("probe", model))
            pipe.execute()

    def well(self, model: str) -> None:
        """The model has just answered."""
        self._redis.delete(_key("resting", model), _key("suspect", model), _key("probe", model))

    def resting(self, models: Sequence[str]) -> set[str]:
        """Those that are not to be asked now."""
        return self._known("resting", models)

    def unwell(self, models: Sequence[str]) -> set[str]:
        """Those that rest or are suspect."""
        return self._known("suspect", models)

    def may_try(self, model: str) -> bool:
        """Whether to ask the model now: it is well, or this request is the probe."""
        if not self.unwell([model]):
            return True
        if self.resting([model]):
            return False
        return bool(self._redis.set(_key("probe", model), 1, nx=True, ex=PROBE))

    def _known(self, what: str, models: Sequence[str]) -> set[str]:
        found = self._redis.mget([_key(what, model) for model in models]) if models else []
        return {model for model, kind in zip(models, found, strict=True) if kind is not None}


def _key(what: str, model: str) -> str:
    return f"sb:{what}:{model}"
