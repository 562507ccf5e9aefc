"""Cooldowns of models, for all workers: a provider has failed in a way that concerns every question to it.

A cooldown ends with the first success: of a probe (core/llm/probe.py), or of a question that had no other model to go
to. An error that may lie in one question alone, such as its length, its subject or the time that its answer takes,
begins none. In Redis and in /metrics a model in a cooldown is "resting".
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

from core.errors import Unavailable
from core.llm.providers.base import ErrorKind, ProviderError
from core.stores.recent import Recent
from core.stores.redis import Redis

logger = logging.getLogger(__name__)


class ProbeDelay(NamedTuple):
    """Seconds before the first probe, and before any later one at the most."""

    first: float
    longest: float


PROBE_DELAYS = {
    ErrorKind.UNREACHABLE: ProbeDelay(2, 10),
    # Whether these two still hold is known without a request.
    ErrorKind.MISCONFIGURED: ProbeDelay(5, 5),
    ErrorKind.MISSING_KEY: ProbeDelay(5, 5),
    ErrorKind.UNAUTHORIZED: ProbeDelay(10, 60),
    ErrorKind.MODEL_NOT_FOUND: ProbeDelay(10, 60),
    ErrorKind.QUOTA: ProbeDelay(30, 60),
    ErrorKind.RATE_LIMITED: ProbeDelay(10, 60),
    ErrorKind.SERVER_ERROR: ProbeDelay(2, 30),
}
"""The errors that concern every question to a model."""
DEFAULT_PROBE_DELAY = ProbeDelay(5, 30)
"""For an error that only a probe shows to be the model's, as its question is not at fault: that no answer comes."""
MAX_PROBE_DELAY = 120.0
"""Seconds that a provider can ask for at the most."""
MIN_PROBE_DELAY = 1.0
COMPLAINT_WINDOW = 60
"""Seconds within which several owners have to meet an error of the server's, to show that it concerns all of them."""
MIN_COMPLAINERS = 3
"""How many. One person can easily be two guests."""
HEARD_COMPLAINERS_TTL = 600
"""Seconds for which the owners whose complaints have begun a cooldown do not count again: if a probe then succeeds,
the error may have lain in their questions."""
COOLDOWN_TTL = 600
"""Seconds after which a cooldown that is not probed any more is forgotten: there are no workers, or other models."""
PROBE_LOCK_TTL = 10
"""Seconds after which a probe that is not held any more is taken for lost."""
MAX_AGE = 0.2
"""Seconds for which a process takes a model for well that was."""
MAX_REASON_LENGTH = 300
"""Characters of the provider's words that are kept."""


class Cooldown(NamedTuple):
    """Why a model is in a cooldown."""

    kind: ErrorKind
    provider_message: str = ""
    """The provider's own last words, redacted, or the exception's class and HTTP status."""
    probes: int = 0
    """How many probes have failed since it began."""

    @classmethod
    def after_error(cls, error: ProviderError, probes: int) -> "Cooldown":
        """The cooldown that an error begins, or goes on with."""
        return cls(error.kind, (error.provider_message or error.log_detail)[:MAX_REASON_LENGTH], probes)

    @classmethod
    def parse(cls, kept: str) -> "Cooldown":
        """What `dump` has written, or the kind alone, as it was kept before."""
        try:
            kind, said, probes = json.loads(kept)
            return cls(ErrorKind(kind), str(said), int(probes))
        except (ValueError, TypeError):
            return cls(ErrorKind(kept)) if kept in set(ErrorKind) else cls(ErrorKind.SERVER_ERROR)

    def dump(self) -> str:
        """The cooldown as it is kept."""
        return json.dumps(self)


def probe_delay(cooldown: Cooldown, retry_after: float | None) -> float:
    """Seconds before the next probe: as long as the provider says, if it does; doubled for each probe that failed."""
    first, longest = PROBE_DELAYS.get(cooldown.kind, DEFAULT_PROBE_DELAY)
    wanted = min(MAX_PROBE_DELAY, max(MIN_PROBE_DELAY, retry_after if retry_after is not None else first))
    return max(wanted, min(longest, wanted * 2.0 ** min(cooldown.probes, 10)))


def _pass(_model: str, _kind: str) -> None:
    """Count nothing."""


class _Health(NamedTuple):
    """What is known of a model before it is asked."""

    in_cooldown: bool = False
    complaints: bool = True
    """Whether a success has to end some."""


WELL = _Health(in_cooldown=False, complaints=False)


class Cooldowns:
    """What is known of models' health, in Redis."""

    def __init__(
        self,
        redis: Redis,
        on_failure: Callable[[str, str], None] = _pass,
        on_begin: Callable[[str, str], None] = _pass,
    ) -> None:
        """`on_failure` is called with the model and the kind of each failure of a question, `on_begin` with those of
        each cooldown, to count them."""
        self._redis = redis
        self._on_failure = on_failure
        self._on_begin = on_begin
        self._recent = Recent(self._look, MAX_AGE)

    @contextmanager
    def watch(self, model: str, owner: UUID) -> Iterator[None]:
        """Learn from how the owner's question to the model ends, in the block. Without Redis nothing is learnt."""
        before = _Health()
        with _tolerate_unavailable():
            before = self._health(model)
        try:
            yield
        except ProviderError as error:
            self._on_failure(model, error.kind)
            with _tolerate_unavailable():
                self.note_failure(model, error, owner)
            raise
        with _tolerate_unavailable():
            # An answer that was begun before the cooldown says nothing of what is refused since.
            if before.in_cooldown:
                self.end(model)
            elif before.complaints:
                self._redis.delete(_key("complaints", model))
                self._recent.forget(model)

    def note_failure(self, model: str, error: ProviderError, owner: UUID) -> None:
        """The owner's question has failed. Raises Unavailable.

        A cooldown under way stays as it is, unless the provider asks for more time: the probes find its end.
        """
        if error.kind not in PROBE_DELAYS:
            return
        self._recent.forget(model)
        if error.kind is ErrorKind.SERVER_ERROR and not self._is_repeated(model, owner):
            return
        before = self.active([model]).get(model)
        if before is None or error.retry_after is not None:
            self._begin(model, Cooldown.after_error(error, before.probes if before else 0), error.retry_after)

    def note_probe_failure(self, model: str, error: ProviderError) -> None:
        """The probe has failed. Raises Unavailable. Harmless when a success has ended the cooldown meanwhile."""
        before = self.active([model]).get(model)
        if before is not None:
            self._begin(model, Cooldown.after_error(error, before.probes + 1), error.retry_after)

    def end(self, model: str) -> None:
        """The model has just answered. Raises Unavailable."""
        self._redis.delete(*(_key(what, model) for what in ("resting", "suspect", "probe", "complaints")))
        self._recent.forget(model)

    def active(self, models: Sequence[str]) -> dict[str, Cooldown]:
        """The cooldowns under way, by model. Raises Unavailable."""
        return {model: Cooldown.parse(kept) for model, kept in self._known("suspect", models).items()}

    def in_cooldown(self, models: Sequence[str]) -> set[str]:
        """The models in a cooldown; one that was well a moment ago is none of them. Raises Unavailable."""
        return {model for model in models if self._health(model).in_cooldown}

    def due_for_probe(self, models: Sequence[str]) -> dict[str, Cooldown]:
        """Those whose next probe may be made now. Raises Unavailable."""
        active = self.active(models)
        early = self._known("resting", list(active))
        return {model: cooldown for model, cooldown in active.items() if model not in early}

    def begin_probe(self, model: str) -> Cooldown | None:
        """The cooldown of a model that is due, if the caller is to probe it now: of all processes one is, as long as
        it holds on. Raises Unavailable."""
        if not self._redis.set(_key("probe", model), 1, nx=True, ex=PROBE_LOCK_TTL):
            return None
        cooldown = self.due_for_probe([model]).get(model)
        if cooldown is None:  # another one has probed it since the caller looked
            self.end_probe(model)
        return cooldown

    def renew_probe(self, model: str) -> None:
        """The probe goes on. Raises Unavailable."""
        self._redis.expire(_key("probe", model), PROBE_LOCK_TTL)

    def end_probe(self, model: str) -> None:
        """The probe is over. Raises Unavailable."""
        self._redis.delete(_key("probe", model))

    def _begin(self, model: str, cooldown: Cooldown, retry_after: float | None) -> None:
        seconds = probe_delay(cooldown, retry_after)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(_key("resting", model), cooldown.kind, px=int(seconds * 1000))
            pipe.set(_key("suspect", model), cooldown.dump(), ex=int(seconds) + COOLDOWN_TTL, get=True)
            *_, before = pipe.execute()
        self._recent.forget(model)
        if before is None:
            self._on_begin(model, cooldown.kind)

    def _is_repeated(self, model: str, owner: UUID) -> bool:
        """Whether enough others have complained within the minute, with no success since."""
        complaints, heard = _key("complaints", model), _key("heard", model)
        if self._redis.sismember(heard, str(owner)):
            return False
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(complaints, str(owner))
            pipe.expire(complaints, COMPLAINT_WINDOW, nx=True)
            pipe.smembers(complaints)
            owners = pipe.execute()[-1]
        if len(owners) < MIN_COMPLAINERS:
            return False
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(heard, *owners)
            pipe.expire(heard, HEARD_COMPLAINERS_TTL)
            pipe.execute()
        return True

    def _health(self, model: str) -> "_Health":
        """The model's health; that it is well, as it was known a moment ago."""
        health = self._recent.get(model)
        if health != WELL:
            self._recent.forget(model)
        return health

    def _look(self, model: str) -> "_Health":
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.exists(_key("suspect", model))
            pipe.exists(_key("complaints", model))
            return _Health(*map(bool, pipe.execute()))

    def _known(self, what: str, models: Sequence[str]) -> dict[str, str]:
        found = self._redis.mget([_key(what, model) for model in models]) if models else []
        return {model: str(kept) for model, kept in zip(models, found, strict=True) if kept is not None}


def _key(what: str, model: str) -> str:
    return f"sb:{what}:{model}"


@contextmanager
def _tolerate_unavailable() -> Iterator[None]:
    """No answer is lost because nothing could be noted of its model."""
    try:
        yield
    except Unavailable as error:
        logger.warning("a model's health could not be looked up or noted: %s", error.reason)
