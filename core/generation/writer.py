"""Writes answers: takes the generation whose turn it is, asks its model or the next in line, and streams what comes
into the log."""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from core.conversation.event_log import Fenced, LogLost
from core.errors import SwitchboardError, Unavailable
from core.generation.attempts import Attempt, Attempts, Lost
from core.generation.context_window import TooLong
from core.generation.events import AnswerLog
from core.generation.failure import failed, finish_reason, may_go_on
from core.generation.finalizer import End, Endings
from core.generation.heartbeat import LOOK, HandedOn, Keeper, Stopped, Upkeep
from core.generation.model_call import ModelCalls
from core.generation.provider_slots import Slots
from core.generation.scheduler import Line
from core.limits.message_limits import MessageLimits
from core.llm.client_pool import ClientPool
from core.llm.cooldown import Cooldowns
from core.llm.providers.base import ErrorKind, ProviderError
from core.stores.redis import RedisUnavailable
from core.stores.tables import GenerationState

logger = logging.getLogger(__name__)

SLOT_PATIENCE = 30.0
"""Seconds to wait for a slot of a model that is to answer in another's place."""
END_PATIENCE = 30.0
"""Seconds for which a finished answer waits for the database to take its end."""


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
        calls: ModelCalls,
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
        self._calls = calls
        self._limits = limits
        self.stopping = upkeep.stopping

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
        except Unavailable:
            logger.warning("a store is away; the reaper calls the line again")
            return None

    def _carry_out(self, attempt: Attempt) -> None:
        """Write the answer to its end, or as far as this attempt may."""
        about = {"generation_id": str(attempt.generation_id)}
        try:
            self._end(attempt, self._write(attempt))
        except HandedOn:
            with suppress(Lost):
                self._attempts.hand_on(attempt)
        except (Lost, Fenced, LogLost):
            logger.info("lost to another attempt", extra=about)
        except Unavailable:
            logger.warning("a store is away; the reaper hands the generation on", extra=about)
        finally:
            self._slots.release(attempt)

    def _end(self, attempt: Attempt, end: End) -> None:
        """A database that is only restarted costs nobody an answer that is written."""
        patience = time.monotonic() + END_PATIENCE
        while True:
            try:
                self._endings.end(attempt, end)
                return
            except RedisUnavailable:
                raise  # the row has ended; the reaper tells of it
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
        except (HandedOn, Lost, Fenced, LogLost, Unavailable):
            raise
        except SwitchboardError as error:
            return End(GenerationState.FAILED, {"problem": error.problem()}, error.slug)
        except Exception:
            logger.exception("failed", extra={"generation_id": str(attempt.generation_id)})
            return End(GenerationState.FAILED, {"problem": SwitchboardError().problem()}, SwitchboardError.slug)

    def _answer(self, attempt: Attempt) -> End:
        keeper = Keeper(self._upkeep, attempt)
        self._limits.renew_lease(attempt.owner, attempt.generation_id, self._attempts.lease)
        # First the fence, then the text: what a lost attempt sends from here on is refused.
        self._answers.take_over(attempt)
        if attempt.stop_requested:
            raise Stopped
        if attempt.number == 1:
            self._answers.append(attempt, "started", {"model": attempt.model, "attempt": 1})
        else:
            self._answers.append_change(attempt, "resumed", {"attempt": attempt.number, "at": len(attempt.text)})
        return self._ask_in_turn(attempt, keeper)

    def _ask_in_turn(self, attempt: Attempt, keeper: Keeper) -> End:
        """Ask the model, and its fallbacks when it fails; how the answer ends."""
        last: str | None = None
        refused: tuple[str, ProviderError] | None = None
        """As too long: of all that goes wrong, what the person who asks can mend."""
        for model in self._candidates(attempt):
            if last not in (None, model) and attempt.failure is not None:
                change = {"from": last, "to": model, "reason": attempt.failure.kind}
                self._answers.append_change(attempt, "fallback", change)
            last = model
            if not self._wait_for_slot(attempt, model, keeper):
                attempt.failure = ProviderError(ErrorKind.RATE_LIMITED, "no slot")
                continue
            try:
                with self._cooldowns.watch(model, attempt.owner):
                    reason = self._calls.answer(attempt, model, keeper)
            except ProviderError as error:
                said = error.said and f", it said: {error.said}"
                about = {"generation_id": str(attempt.generation_id)}
                logger.warning("%s failed: %s%s", model, error, said, extra=about)
                attempt.failure = error
                if isinstance(error, TooLong):
                    refused = (model, error)
                continue
            told = {"model": model, "finish_reason": reason, "usage": attempt.usage._asdict()}
            return End(GenerationState.DONE, told, reason)
        assert last is not None
        assert attempt.failure is not None
        name, cause = refused or (last, attempt.failure)
        problem = failed(name, cause, begun=bool(attempt.text))
        data = {"problem": problem.problem(), "finish_reason": finish_reason(cause)}
        return End(GenerationState.FAILED, data, problem.slug)

    def _candidates(self, attempt: Attempt) -> Iterator[str]:
        """The models to ask, in order: those that rest come last, for no answer fails while one has not been asked.

        One that fails in the middle of its answer is asked once to go on, or to begin again (`may_go_on`).
        """
        self._pool.require(attempt.model)
        names = self._pool.chain(attempt.model)
        while names:
            resting = self._cooldowns.resting(names)
            name = next((name for name in names if name not in resting), names[0])
            names.remove(name)
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


def _once_or_twice(attempt: Attempt, model: str) -> Iterator[str]:
    before = len(attempt.text)
    yield model
    wrote = len(attempt.text) > before
    thought = bool(attempt.thinking.text) and not attempt.thinking.stale
    if attempt.failure is not None and may_go_on(attempt.failure, wrote=wrote, thought=thought):
        yield model
