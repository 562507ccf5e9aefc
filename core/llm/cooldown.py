"""Models that rest, for all workers: their provider has failed in a way that concerns everybody who would ask.

A rest ends with the first success: of a probe (core/llm/probe.py), or of a question that had nobody else to turn
to. What may lie in one question alone, such as its length, its subject or the time that its answer takes, makes
no model rest.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

from core.errors import Unavailable
from core.llm.providers.base import ErrorKind, ProviderError
from core.stores.redis import Redis

logger = logging.getLogger(__name__)


class Pause(NamedTuple):
    """Seconds before the first probe, and before any later one at the most."""

    first: float
    longest: float


PAUSES = {
    ErrorKind.UNREACHABLE: Pause(2, 10),
    # Whether these two still hold is known without a request.
    ErrorKind.MISCONFIGURED: Pause(5, 5),
    ErrorKind.MISSING_KEY: Pause(5, 5),
    ErrorKind.UNAUTHORIZED: Pause(10, 60),
    ErrorKind.MODEL_NOT_FOUND: Pause(10, 60),
    ErrorKind.QUOTA: Pause(30, 60),
    ErrorKind.RATE_LIMITED: Pause(10, 60),
    ErrorKind.SERVER_ERROR: Pause(2, 30),
}
"""What concerns everybody."""
OF_A_PROBE = Pause(5, 30)
"""For what only a probe can say of a model, as there is nothing in its question: that no answer comes."""
LONGEST = 120.0
"""Seconds that a provider can ask for at the most."""
SHORTEST = 1.0
COMPLAINT = 60
"""Seconds within which several owners have to meet an error of the server's, to show that it concerns everybody."""
COMPLAINERS = 3
"""How many. One person can easily be two guests."""
HEARD = 600
"""Seconds for which those who have made a model rest so do not count again: if it is well when it is probed, it may
have been their questions."""
FORGOTTEN = 600
"""Seconds after which a rest that is not probed any more is forgotten: there are no workers, or other models."""
PROBE = 10
"""Seconds after which a probe that is not held any more is taken for lost."""
SAID = 300
"""Characters of the provider's words that are kept."""


class Rest(NamedTuple):
    """Why a model rests."""

    kind: ErrorKind
    said: str = ""
    """The provider's own last words, redacted, or the exception's class and HTTP status."""
    probes: int = 0
    """How many probes have failed since it began."""

    @classmethod
    def after(cls, error: ProviderError, probes: int) -> "Rest":
        """The rest that an error begins, or goes on with."""
        return cls(error.kind, (error.said or error.log_detail)[:SAID], probes)

    @classmethod
    def parse(cls, kept: str) -> "Rest":
        """What `dump` has written, or the kind alone, as it was kept before."""
        try:
            kind, said, probes = json.loads(kept)
            return cls(ErrorKind(kind), str(said), int(probes))
        except (ValueError, TypeError):
            return cls(ErrorKind(kept)) if kept in set(ErrorKind) else cls(ErrorKind.SERVER_ERROR)

    def dump(self) -> str:
        """The rest as it is kept."""
        return json.dumps(self)


def pause(rest: Rest, retry_after: float | None) -> float:
    """Seconds before the next probe: as long as the provider says, if it does; doubled for each probe that failed."""
    first, longest = PAUSES.get(rest.kind, OF_A_PROBE)
    wanted = min(LONGEST, max(SHORTEST, retry_after if retry_after is not None else first))
    return max(wanted, min(longest, wanted * 2.0 ** min(rest.probes, 10)))


class Cooldowns:
    """What is known of models' health, in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @contextmanager
    def watch(self, model: str, owner: UUID) -> Iterator[None]:
        """Learn from how the owner's question to the model ends, in the block. Without Redis nothing is learnt."""
        rested = False
        with _best_effort():
            rested = bool(self.unwell([model]))
        try:
            yield
        except ProviderError as error:
            with _best_effort():
                self.failed(model, error, owner)
            raise
        with _best_effort():
            # An answer that was begun before the rest was says nothing of what is refused since.
            if rested:
                self.well(model)
            else:
                self._redis.delete(_key("complaints", model))

    def failed(self, model: str, error: ProviderError, owner: UUID) -> None:
        """The owner's question has failed. Raises Unavailable.

        A model that rests goes on as it is, unless its provider asks for more time: when that ends is for the probes
        to say.
        """
        if error.kind not in PAUSES:
            return
        if error.kind is ErrorKind.SERVER_ERROR and not self._is_repeated(model, owner):
            return
        before = self.rests([model]).get(model)
        if before is None or error.retry_after is not None:
            self._rest(model, Rest.after(error, before.probes if before else 0), error.retry_after)

    def probe_failed(self, model: str, error: ProviderError) -> None:
        """The probe has failed. Raises Unavailable. Harmless when the rest has ended meanwhile, with a success."""
        before = self.rests([model]).get(model)
        if before is not None:
            self._rest(model, Rest.after(error, before.probes + 1), error.retry_after)

    def well(self, model: str) -> None:
        """The model has just answered. Raises Unavailable."""
        self._redis.delete(*(_key(what, model) for what in ("resting", "suspect", "probe", "complaints")))

    def rests(self, models: Sequence[str]) -> dict[str, Rest]:
        """Those that rest, and why. Raises Unavailable."""
        return {model: Rest.parse(kept) for model, kept in self._known("suspect", models).items()}

    def unwell(self, models: Sequence[str]) -> set[str]:
        """Those that rest. Raises Unavailable."""
        return set(self._known("suspect", models))

    def due(self, models: Sequence[str]) -> dict[str, Rest]:
        """Those whose next probe may be made now. Raises Unavailable."""
        resting = self.rests(models)
        early = self._known("resting", list(resting))
        return {model: rest for model, rest in resting.items() if model not in early}

    def begin_probe(self, model: str) -> Rest | None:
        """The rest of a model that is due, if the caller is to probe it now: of all processes one is, as long as
        it holds on. Raises Unavailable."""
        if not self._redis.set(_key("probe", model), 1, nx=True, ex=PROBE):
            return None
        rest = self.due([model]).get(model)
        if rest is None:  # another one has probed it since the caller looked
            self.end_probe(model)
        return rest

    def hold_probe(self, model: str) -> None:
        """The probe goes on. Raises Unavailable."""
        self._redis.expire(_key("probe", model), PROBE)

    def end_probe(self, model: str) -> None:
        """The probe is over. Raises Unavailable."""
        self._redis.delete(_key("probe", model))

    def _rest(self, model: str, rest: Rest, retry_after: float | None) -> None:
        seconds = pause(rest, retry_after)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(_key("resting", model), rest.kind, px=int(seconds * 1000))
            pipe.set(_key("suspect", model), rest.dump(), ex=int(seconds) + FORGOTTEN)
            pipe.execute()

    def _is_repeated(self, model: str, owner: UUID) -> bool:
        """Whether enough others have complained within the minute, with no success since."""
        complaints, heard = _key("complaints", model), _key("heard", model)
        if self._redis.sismember(heard, str(owner)):
            return False
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(complaints, str(owner))
            pipe.expire(complaints, COMPLAINT, nx=True)
            pipe.smembers(complaints)
            owners = pipe.execute()[-1]
        if len(owners) < COMPLAINERS:
            return False
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(heard, *owners)
            pipe.expire(heard, HEARD)
            pipe.execute()
        return True

    def _known(self, what: str, models: Sequence[str]) -> dict[str, str]:
        found = self._redis.mget([_key(what, model) for model in models]) if models else []
        return {model: str(kept) for model, kept in zip(models, found, strict=True) if kept is not None}


def _key(what: str, model: str) -> str:
    return f"sb:{what}:{model}"


@contextmanager
def _best_effort() -> Iterator[None]:
    """No answer is lost because nothing could be noted of its model."""
    try:
        yield
    except Unavailable as error:
        logger.warning("a model's health could not be looked up or noted: %s", type(error.cause).__name__)
