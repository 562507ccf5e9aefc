"""Writes answers: claims the generation whose turn it is, asks its model or the fallbacks, and streams what comes
into the log."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from core.conversation.event_log import Fenced, LogLost
from core.errors import SwitchboardError, Unavailable
from core.generation.attempts import Attempt, Attempts, LeaseLost
from core.generation.events import GenerationEvents
from core.generation.failure import failed, finish_reason
from core.generation.finalizer import Finalizer, Outcome
from core.generation.heartbeat import (
    STOP_POLL_INTERVAL,
    HandedOff,
    HandoverWanted,
    Heartbeat,
    Heartbeats,
    Stopped,
)
from core.generation.model_call import ModelCalls
from core.generation.model_chain import Failure, ModelChain
from core.generation.provider_slots import Slot
from core.generation.scheduler import Claim, FairQueue
from core.limits.message_limits import MessageLimits
from core.llm.client_pool import ClientPool
from core.llm.cooldown import Cooldowns
from core.llm.event_loop import EventLoop
from core.llm.providers.base import ErrorKind, FinishReason, ProviderError
from core.observability.log_ids import log_ids
from core.observability.tracing import span, traceparent
from core.stores.redis import RedisUnavailable
from core.stores.tables import GenerationState

logger = logging.getLogger(__name__)

SLOT_TIMEOUT = 30.0
"""Seconds to wait for a slot of a model that is to answer in another's place."""
FINALIZE_TIMEOUT = 30.0
"""Seconds for which a finished answer waits for the database to take its end."""


class Writer:
    """The chat worker's work."""

    def __init__(
        self,
        queue: FairQueue,
        attempts: Attempts,
        finalizer: Finalizer,
        pool: ClientPool,
        cooldowns: Cooldowns,
        events: GenerationEvents,
        heartbeats: Heartbeats,
        calls: ModelCalls,
        limits: MessageLimits,
        loop: EventLoop,
        promote: Callable[[UUID], UUID | None],
    ) -> None:
        """`promote` has a session's next waiting question answered."""
        self._queue = queue
        self._attempts = attempts
        self._finalizer = finalizer
        self._pool = pool
        self._cooldowns = cooldowns
        self._events = events
        self._heartbeats = heartbeats
        self._calls = calls
        self._limits = limits
        self._loop = loop
        self._promote = promote
        self.stopping = heartbeats.stopping

    def run(self, woken: UUID | None = None) -> UUID | None:
        """Write the answer whose turn it is, if there is one that can be written now.

        `woken` is the generation that this worker has been called for.
        Returns the id of a generation that waits for a worker then: the next in the queue, or the same one, when this
        process has been told to stop. The caller queues its task. Safe to call too often, also at once.
        """
        try:
            if self.stopping.is_set():
                return self._queue.first()
            claim = self._queue.claim_next(woken)
            if claim is None:
                return None
            attempt = claim.attempt
            ids = {"session_id": str(attempt.session_id), "generation_id": str(attempt.generation_id)}
            # In the trace of the question, whatever this worker was woken for.
            about = {f"switchboard.{name}": value for name, value in ids.items()}
            with (
                log_ids(request_id=attempt.request_id, **ids),
                span("write answer", attributes=about, parent=attempt.traceparent, links=[traceparent()]),
            ):
                self._carry_out(claim)
            return self._queue.first()
        except Unavailable:
            logger.warning("a store is away; the reaper wakes the queue again")
            return None

    def _carry_out(self, claim: Claim) -> None:
        """Write the answer to its end, or as far as this attempt may."""
        attempt, slot = claim
        about = {"generation_id": str(attempt.generation_id)}
        try:
            self._finalize(attempt, self._write(attempt, slot))
            self._promote_next(attempt)
        except HandedOff:
            with suppress(LeaseLost):
                self._attempts.hand_off(attempt)
        except (LeaseLost, Fenced, LogLost):
            logger.info("lost to another attempt", extra=about)
        except Unavailable:
            logger.warning("a store is away; the reaper hands the generation off", extra=about)
        finally:
            slot.release()

    def _promote_next(self, attempt: Attempt) -> None:
        """Have the question answered that waits for this end. The reaper goes on with what fails."""
        if not attempt.followed.is_set():
            return
        try:
            self._promote(attempt.session_id)
        except Unavailable:
            raise
        except Exception:
            about = {"generation_id": str(attempt.generation_id)}
            logger.exception("the question after this answer could not be taken", extra=about)

    def _finalize(self, attempt: Attempt, outcome: Outcome) -> None:
        """End the generation. A database that is only restarted loses no answer that is written."""
        deadline = time.monotonic() + FINALIZE_TIMEOUT
        while True:
            try:
                self._finalizer.finalize(attempt, outcome)
                return
            except RedisUnavailable:
                raise  # the row has ended; the reaper publishes it
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(STOP_POLL_INTERVAL)

    def _write(self, attempt: Attempt, slot: Slot) -> Outcome:
        """Write the answer from what there is of it; how it ends. Raises what leaves it to another attempt."""
        try:
            return self._answer(attempt, slot)
        except Stopped:
            return Outcome(GenerationState.STOPPED, attempt.handovers.helped_out)
        except (HandedOff, LeaseLost, Fenced, LogLost, Unavailable):
            raise
        except SwitchboardError as error:
            return Outcome(GenerationState.FAILED, {"problem": error.problem()}, error.slug)
        except Exception:
            logger.exception("failed", extra={"generation_id": str(attempt.generation_id)})
            return Outcome(GenerationState.FAILED, {"problem": SwitchboardError().problem()}, SwitchboardError.slug)

    def _answer(self, attempt: Attempt, slot: Slot) -> Outcome:
        with self._heartbeats.start(attempt, slot) as heartbeat:
            return self._begin(attempt, heartbeat)

    def _begin(self, attempt: Attempt, heartbeat: Heartbeat) -> Outcome:
        self._limits.renew_lease(attempt.owner, attempt.generation_id, self._attempts.lease)
        if attempt.number > 1 or attempt.goes_on:
            # First the fence, then the text: what a lost attempt sends from here on is refused.
            self._events.take_over(attempt)
        if attempt.stop_requested.is_set():
            raise Stopped
        if attempt.number == 1:
            self._loop.run(self._events.append_started(attempt))
        else:
            self._events.append_missed_handover(attempt)
            self._loop.run(self._events.append_resumed(attempt))
        while True:
            try:
                heartbeat.check()
                return self._ask_in_turn(attempt, heartbeat)
            except HandoverWanted as wanted:
                self._hand_over(attempt, wanted.model)

    def _hand_over(self, attempt: Attempt, model: str) -> None:
        """Have this model carry on, if that is still wanted."""
        handover = self._attempts.hand_over(attempt, model)
        if handover is None:
            self._attempts.find_handovers([attempt])
            return
        attempt.handovers.note(handover)
        self._events.append_handover(attempt, handover)

    def _ask_in_turn(self, attempt: Attempt, heartbeat: Heartbeat) -> Outcome:
        """Ask the model, and its fallbacks when it fails; how the answer ends."""
        models = [name for model in attempt.handovers.models for name in self._pool.chain(model)]
        if not models:
            self._pool.require(attempt.handovers.model)
        chain = ModelChain(list(dict.fromkeys(models)), self._cooldowns, attempt.draft)
        for model in chain:
            before = chain.last_failure
            if before is not None and before.model != model:
                self._attempts.note_fallback(attempt)
                self._loop.run(self._events.append_fallback(attempt, before.model, model, before.error.kind))
            try:
                reason = self._ask(attempt, heartbeat, model, before)
            except ProviderError as error:
                chain.failed(model, error)
            else:
                data = {"model": model, "finish_reason": reason, "usage": attempt.usage._asdict()}
                return Outcome(GenerationState.DONE, {**data, **attempt.handovers.helped_out}, reason)
        return _failed(chain.reported_failure, begun=bool(attempt.draft.length))

    def _ask(self, attempt: Attempt, heartbeat: Heartbeat, model: str, before: Failure | None) -> FinishReason:
        """Ask one model; why its answer ended. Raises ProviderError."""
        failure = before.error.kind if before and before.model != model else None
        attempt.handovers.note_asked(model, failure, attempt.draft.length)
        if not self._wait_for_slot(model, heartbeat):
            raise ProviderError(ErrorKind.RATE_LIMITED, "no slot")
        try:
            with self._cooldowns.watch(model, attempt.owner):
                return self._calls.answer(attempt, model, heartbeat, before and before.error)
        except ProviderError as error:
            said = error.provider_message and f", it said: {error.provider_message}"
            about = {"generation_id": str(attempt.generation_id)}
            logger.warning("%s failed: %s%s", model, error, said, extra=about)
            raise

    def _wait_for_slot(self, model: str, heartbeat: Heartbeat) -> bool:
        """Whether one of the model's slots has been got; of the first one's, the attempt has come with it."""
        deadline = time.monotonic() + SLOT_TIMEOUT
        while not self._heartbeats.move(heartbeat, model):
            if time.monotonic() > deadline:
                return False
            heartbeat.check()
            self.stopping.wait(STOP_POLL_INTERVAL)
        return True


def _failed(failure: Failure, *, begun: bool) -> Outcome:
    problem = failed(failure.model, failure.error, begun=begun)
    data = {"problem": problem.problem(), "finish_reason": finish_reason(failure.error)}
    return Outcome(GenerationState.FAILED, data, problem.slug)
