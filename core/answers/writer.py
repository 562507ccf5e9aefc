"""Writes answers: takes the generation whose turn it is, asks its model or the next in line, and streams what comes
into the log."""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from redis.exceptions import RedisError

from core.answers.answer_log import AnswerLog
from core.answers.attempt import Attempt, Attempts, Lost
from core.answers.context_window import TooLong
from core.answers.ending import End, Endings
from core.answers.keeper import LOOK, HandedOn, Keeper, Stopped, Upkeep
from core.answers.line import Line
from core.answers.overlap import Overlap
from core.answers.patience import Patience
from core.answers.prompts import Asking, Prompts
from core.answers.pump import Pump
from core.answers.slots import Slots
from core.client_pool import ClientPool
from core.cooldown import Cooldowns
from core.errors import ProviderFailed, SwitchboardError, Unavailable
from core.event_log import Fenced, LogLost
from core.limits.message_limits import MessageLimits
from core.models import GenerationState
from core.providers import REASONS, ErrorKind, ProviderError

logger = logging.getLogger(__name__)

COALESCE = 0.002
"""Seconds, for each answer that this process writes, over which text is gathered into one event: a lone reader sees
each token as it comes, and many share what the process can do. The first token does not wait."""
LONGEST_COALESCE = 0.04
SLOT_PATIENCE = 30.0
"""Seconds to wait for a slot of a model that is to answer in another's place."""
END_PATIENCE = 30.0
"""Seconds for which a finished answer waits for the database to take its end."""
LONGEST = 1_000_000
"""Characters of an answer, for servers that do not mind `max_tokens`. Exactly: what comes beyond is not kept."""


class Writer:
    """The chat worker's work."""

    def __init__(
        self,
        line: Line,
        attempts: Attempts,
        endings: Endings,
        pool: ClientPool,
        cooldowns: Cooldowns,
        slots: Slots,
        answers: AnswerLog,
        upkeep: Upkeep,
        prompts: Prompts,
        limits: MessageLimits,
    ) -> None:
        self._line = line
        self._attempts = attempts
        self._endings = endings
        self._pool = pool
        self._cooldowns = cooldowns
        self._slots = slots
        self._answers = answers
        self._upkeep = upkeep
        self._prompts = prompts
        self._limits = limits
        self.stopping = upkeep.stopping
        self._live: set[UUID] = set()

    def run(self) -> UUID | None:
        """Write the answer whose turn it is, if there is one that can be written now.

        Returns the id of a generation that waits for a worker then: the next in line, or the same one, when this
        process has been told to stop. The caller queues its task. Safe to call too often, also at once.
        """
        try:
            if self.stopping.is_set():
                return self._line.first()
            attempt = self._line.next()
            if attempt is None:
                return None
            self._carry_out(attempt)
            return self._line.first()
        except (RedisError, Unavailable):
            logger.warning("a store is away; the reaper calls the line again")
            return None

    def _carry_out(self, attempt: Attempt) -> None:
        """Write the answer to its end, or as far as this attempt may."""
        about = {"generation_id": str(attempt.generation_id)}
        self._live.add(attempt.generation_id)
        try:
            self._end(attempt, self._write(attempt))
        except HandedOn:
            with suppress(Lost):
                self._attempts.hand_on(attempt)
        except (Lost, Fenced, LogLost):
            logger.info("lost to another attempt", extra=about)
        except (RedisError, Unavailable):
            logger.warning("a store is away; the reaper hands the generation on", extra=about)
        finally:
            self._live.discard(attempt.generation_id)
            self._slots.release(attempt)

    def _end(self, attempt: Attempt, end: End) -> None:
        """A database that is only restarted costs nobody an answer that is written."""
        patience = time.monotonic() + END_PATIENCE
        while True:
            try:
                self._endings.end(attempt, end)
                return
            except Unavailable:
                if time.monotonic() > patience:
                    raise
            time.sleep(LOOK)

    def _write(self, attempt: Attempt) -> End:
        """The answer, from whatever there is of it; how it ends. Raises what leaves it to another attempt."""
        try:
            return self._answer(attempt)
        except Stopped:
            return End(GenerationState.STOPPED)
        except (HandedOn, Lost, Fenced, LogLost, RedisError, Unavailable):
            raise
        except SwitchboardError as error:
            return End(GenerationState.FAILED, {"problem": error.problem()}, error.slug)
        except Exception:
            logger.exception("failed", extra={"generation_id": str(attempt.generation_id)})
            return End(GenerationState.FAILED, {"problem": SwitchboardError().problem()}, SwitchboardError.slug)

    def _answer(self, attempt: Attempt) -> End:
        keeper = Keeper(self._upkeep, attempt)
        self._limits.hold(attempt.owner, attempt.generation_id, self._attempts.lease)
        # First the fence, then the text: what a lost attempt sends from here on is refused.
        self._answers.take_over(attempt)
        if attempt.stop_requested:
            raise Stopped
        if attempt.number == 1:
            self._answers.append(attempt, "started", {"model": attempt.model, "attempt": 1})
        else:
            self._answers.append(attempt, "resumed", {"attempt": attempt.number, "at": len(attempt.text)})
        model, finish_reason = self._ask_in_turn(attempt, keeper)
        told = {"model": model, "finish_reason": finish_reason, "usage": attempt.usage._asdict()}
        return End(GenerationState.DONE, told, finish_reason)

    def _ask_in_turn(self, attempt: Attempt, keeper: Keeper) -> tuple[str, str]:
        """Ask the model, and its fallbacks when it fails; the one that ended the answer, and why it ended."""
        failed: tuple[str, ProviderError] | None = None
        refused: tuple[str, ProviderError] | None = None
        """As too long: of all that goes wrong, what the person who asks can mend."""
        for model in self._candidates(attempt):
            if failed is not None and failed[0] != model:
                told = {"from": failed[0], "to": model, "reason": failed[1].kind}
                self._answers.append(attempt, "fallback", told)
            if not self._wait_for_slot(attempt, model, keeper):
                failed = (model, ProviderError(ErrorKind.RATE_LIMITED, "no slot"))
                continue
            try:
                finish_reason = self._ask(attempt, model, keeper)
            except ProviderError as error:
                logger.warning("%s failed: %s", model, error, extra={"generation_id": str(attempt.generation_id)})
                self._cooldowns.rest(model, error)
                failed = (model, error)
                if isinstance(error, TooLong):
                    refused = failed
                continue
            self._cooldowns.well(model)
            return model, finish_reason
        assert failed is not None
        last, cause = refused or failed
        if isinstance(cause, TooLong):
            figures = {"tokens": cause.tokens, "limit": cause.limit}
            raise ProviderFailed(cause.detail, reason=cause.kind, model=last, **figures)
        raise ProviderFailed(REASONS[cause.kind], reason=cause.kind, model=last)

    def _candidates(self, attempt: Attempt) -> Iterator[str]:
        """The models to ask, in order: those that rest come last, for no answer fails while one has not been asked.

        One that fails in the middle of its answer is asked once to go on.
        """
        self._pool.require(attempt.model)
        resting = []
        for name in self._pool.chain(attempt.model):
            if self._cooldowns.may_try(name):
                yield from _once_or_twice(attempt, name)
            else:
                resting.append(name)
        for name in resting:
            yield from _once_or_twice(attempt, name)

    def _wait_for_slot(self, attempt: Attempt, model: str, keeper: Keeper) -> bool:
        """Whether one of the model's slots has been got; of the first one's, the attempt has come with it."""
        patience = time.monotonic() + SLOT_PATIENCE
        while not self._slots.move(attempt, model):
            if time.monotonic() > patience:
                return False
            keeper.look()
            self.stopping.wait(LOOK)
        return True

    def _ask(self, attempt: Attempt, model: str, keeper: Keeper) -> str:
        """Have one model answer, or write the rest, with less of the conversation when it takes no more; why its
        answer ended. Raises ProviderError, for a conversation that is too long still TooLong."""
        asking = self._prompts.begin(attempt, model)
        while True:
            try:
                return self._stream(attempt, model, asking, keeper)
            except ProviderError as error:
                if error.kind is not ErrorKind.TOO_LONG:
                    raise
                asking.refused(error)
                logger.info("%s takes less: %s", model, error, extra={"generation_id": str(attempt.generation_id)})

    def _stream(self, attempt: Attempt, model: str, asking: Asking, keeper: Keeper) -> str:
        """Stream one model's answer, or the rest of it, into the log; why it ended. Raises ProviderError."""
        config = self._pool.config(model)
        whole = not attempt.text
        overlap = Overlap("" if config.prefill else attempt.text)
        pump = Pump(self._pool.open(model, asking.turns))
        patience = Patience(config.first_token_timeout, config.between_tokens_timeout, time.monotonic())
        try:
            while True:
                batch = pump.take(wait=LOOK)
                text = overlap.feed(batch.text) if batch.text else ""
                if batch.ended or batch.finish_reason:
                    text += overlap.flush()
                room = LONGEST - len(attempt.text)
                if kept := text[:room]:
                    self._answers.append_delta(attempt, kept)
                if len(text) > room:
                    return "length"
                if batch.error is not None:
                    raise batch.error
                if patience.has_had_enough(batch, time.monotonic()):
                    asking.answered(batch.usage)
                    attempt.reported = batch.usage if whole and batch.finish_reason else None
                    return batch.finish_reason or "length"
                keeper.look()
                if text:
                    self.stopping.wait(min(COALESCE * len(self._live), LONGEST_COALESCE))
        finally:
            pump.abort()


def _once_or_twice(attempt: Attempt, model: str) -> Iterator[str]:
    before = len(attempt.text)
    yield model
    if len(attempt.text) > before:
        yield model
