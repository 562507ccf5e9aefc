"""Probes: a model in a cooldown is asked for one token now and then, so that it is back soon after its server is."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from core.errors import Unavailable
from core.llm.client_pool import ClientPool
from core.llm.cooldown import Cooldown, Cooldowns
from core.llm.event_loop import EventLoop
from core.llm.providers.base import ChunkStream, ErrorKind, ProviderError
from core.stores.quarantine import Quarantine

logger = logging.getLogger(__name__)

FIRST_PROBE_TIMEOUT = 15.0
"""Seconds that the first probe waits for a sign."""
MAX_PROBE_TIMEOUT = 120.0
"""Those of later ones: a server may have to load the model, and begin anew when its client leaves."""
ANSWERED_KINDS = {ErrorKind.REJECTED, ErrorKind.TOO_LONG, ErrorKind.FILTERED, ErrorKind.EMPTY}
"""Errors of a server that has looked at the greeting itself: it is there, for every question."""
TOKEN_LIMIT_WORDS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "output limit")
"""What a server speaks of for which one token is too few. OpenAI's GPT-5 refuses then, instead of stopping there."""

ENOUGH_PIECES = 20
"""Pieces of text after which a model that was asked for one token is believed to have answered."""


def probe_timeout(cooldown: Cooldown, limit: float) -> float:
    """Seconds that a model's next probe may take: longer each time, up to the model's own limit for a first token."""
    return min(limit, MAX_PROBE_TIMEOUT, FIRST_PROBE_TIMEOUT * 2.0 ** min(cooldown.probes, 10))


async def first_sign(stream: ChunkStream, seconds: float) -> None:
    """Wait until a model has begun to answer, or would have with more tokens. Raises ProviderError, after `seconds`
    of one with the kind TIMEOUT."""
    async with _judged(stream, seconds):
        async for chunk in stream:
            if chunk.text or chunk.thinking or chunk.finish_reason:
                return
        raise ProviderError(ErrorKind.BROKEN_STREAM, "ended without an answer")


async def short_answer(stream: ChunkStream, seconds: float) -> None:
    """Wait for the end of a model's answer of one token, which may be all thinking. Raises ProviderError: when there
    is no word although there was room for one, when its filter ended it, and as `first_sign` does."""
    reason, spoken = None, 0
    async with _judged(stream, seconds):
        async for chunk in stream:
            reason = chunk.finish_reason or reason
            spoken += bool(chunk.text)
            if spoken >= ENOUGH_PIECES:
                return
        if reason is None:
            raise ProviderError(ErrorKind.BROKEN_STREAM, "ended without an end")
        if reason == "content_filter":
            raise ProviderError(ErrorKind.FILTERED, "it ended the answer to a greeting")
        if reason != "length" and not spoken:
            raise ProviderError(ErrorKind.EMPTY, f"it ended without a word, by its own account: {reason}")


@asynccontextmanager
async def _judged(stream: ChunkStream, seconds: float) -> AsyncIterator[None]:
    """A stream that is read in here, for so long. What is raised is a ProviderError, and is dropped if it says that
    one token is too few."""
    try:
        async with aclosing(stream), asyncio.timeout(seconds):
            yield
    except ProviderError as error:
        if error.kind is not ErrorKind.REJECTED or not any(
            word in error.provider_message for word in TOKEN_LIMIT_WORDS
        ):
            raise
    except TimeoutError:
        raise ProviderError(ErrorKind.TIMEOUT, f"nothing within {seconds:g} s") from None
    except Exception as error:  # whatever a server sends, and whatever is made of it
        raise ProviderError(ErrorKind.BROKEN_STREAM, type(error).__name__) from None


class Prober:
    """Probes models in a cooldown. A probe takes no slot: questions go to such a model only as a last resort, and a
    probe that hangs must not keep a slot from them."""

    def __init__(self, pool: ClientPool, cooldowns: Cooldowns, quarantine: Quarantine[str], loop: EventLoop) -> None:
        self._pool = pool
        self._quarantine = quarantine
        self._cooldowns = cooldowns
        self._loop = loop
        self._under_way: set[str] = set()

    def tick(self) -> None:
        """Begin the probes that are due, and hold on to those under way.

        To be called several times in cooldown.PROBE_LOCK_TTL seconds, by any number of processes. Raises Unavailable.
        """
        self._quarantine.for_each(list(self._under_way), self._cooldowns.renew_probe)
        due = self._cooldowns.due_for_probe(self._pool.names).keys() - self._under_way
        self._quarantine.for_each(due, self._begin)

    def _begin(self, model: str) -> None:
        if (cooldown := self._cooldowns.begin_probe(model)) is not None:
            self._under_way.add(model)
            self._loop.submit(self._run(model, cooldown))

    def probe(self, model: str, cooldown: Cooldown) -> bool:
        """Ask a model in a cooldown, and note what comes of it; whether it is well. Raises Unavailable."""
        return self._note(model, self._loop.run(self._ask(model, cooldown)))

    async def _ask(self, model: str, cooldown: Cooldown) -> ProviderError | None:
        """What is wrong with the model, if anything is."""
        try:
            stream = await asyncio.to_thread(self._pool.probe, model)  # which may have to read certificates
            await first_sign(stream, probe_timeout(cooldown, self._pool.config(model).first_token_timeout))
        except ProviderError as error:
            return error
        return None

    def _note(self, model: str, error: ProviderError | None) -> bool:
        if error is not None and error.kind not in ANSWERED_KINDS:
            self._cooldowns.note_probe_failure(model, error)
            return False
        self._cooldowns.end(model)
        return True

    async def _run(self, model: str, cooldown: Cooldown) -> None:
        try:
            await asyncio.to_thread(self._finish, model, await self._ask(model, cooldown))
        except Unavailable as error:
            logger.warning("what a probe has found could not be noted: %s", error.reason)
        except Exception:
            logger.exception("the probe of %s failed", model)
        finally:
            self._under_way.discard(model)

    def _finish(self, model: str, error: ProviderError | None) -> None:
        if self._note(model, error):
            logger.info("%s is well again", model)
        self._cooldowns.end_probe(model)
