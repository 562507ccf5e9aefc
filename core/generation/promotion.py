"""Promotion: the questions that wait in a session come to be answered, one after the other."""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from core.clock import Clock
from core.conversation.event_log import EndedBefore
from core.errors import (
    GenerationInProgress,
    GenerationLost,
    NoSuchMessage,
    SessionExpired,
    SessionInvalid,
    TooManyBranches,
)
from core.generation.admission import Admission, Edited, Taken, is_halfway
from core.generation.finalizer import Finalizer, Outcome
from core.generation.waiting import MAX_WAITING, WaitingQuestions
from core.generation.wishes import CURRENT_LEAF, Ask, Parent, Target, Targets
from core.limits.message_limits import MessageLimits
from core.limits.status import RateLimited
from core.llm.client_pool import ClientPool
from core.stores.database import Database
from core.stores.tables import Generation, GenerationState, Session, Waiting

MAX_DEFERRAL = timedelta(minutes=1)
"""How long a question goes on waiting because its owner's limits refuse it at its turn. What they refuse for longer
fails."""


class Promotion:
    """Has waiting questions answered, when their turn has come."""

    def __init__(
        self,
        admission: Admission,
        waiting: WaitingQuestions,
        targets: Targets,
        database: Database,
        finalizer: Finalizer,
        limits: MessageLimits,
        pool: ClientPool,
        clock: Clock,
    ) -> None:
        self._admission = admission
        self._waiting = waiting
        self._targets = targets
        self._database = database
        self._finalizer = finalizer
        self._limits = limits
        self._pool = pool
        self._clock = clock

    def promote(self, session_id: UUID) -> UUID | None:
        """Have the session's next waiting question answered, if nothing is live; the generation that a worker is to
        be woken for.

        Safe to repeat, also at once: its row is the generation's by id, and the question waits until that is in the
        queue. What the limits refuse for a moment goes on waiting; what they refuse for longer fails, for all to
        see. Raises Unavailable.
        """
        for _ in range(2 * MAX_WAITING):
            found = self._waiting.next(session_id)
            if found is None:
                return None
            try:
                if self._promote(*found):
                    return found[0].id
            except (GenerationInProgress, SessionInvalid, SessionExpired):
                return None  # the end of that one, or of the session, is another's to tell
            except Edited:
                continue
        return None

    def _promote(self, waiting: Waiting, session: Session) -> bool:
        """Have one question answered; whether a worker is to be woken for it. Raises GenerationInProgress when it
        has to go on waiting."""
        # The words first: who has promoted it meanwhile forgets them after it is in the queue, and not before.
        text = self._waiting.words(session, waiting)
        with self._database.reading() as db:
            known = db.get(Generation, waiting.id)
        if known is not None and not is_halfway(known):
            self._waiting.forget(session, waiting)
            return known.state == GenerationState.QUEUED
        if text is None:  # Redis has lost them: there is nothing left to answer
            if known is not None:
                self._admission.retract(known.id)
            self._waiting.forget(session, waiting, told=False)
            return False
        if known is not None:  # who began to promote it has died
            taken = self._admission.taken_halfway(known, session, self._target_of(waiting, session, text))
        else:
            self._admission.require_free(session.id)
            taken, refused = self._take_waiting(waiting, session, text)
            if refused is not None:
                self._fail(taken, refused)
                self._waiting.forget(session, waiting)
                return False
        with suppress(GenerationLost):  # it has ended meanwhile
            self._admission.enqueue(taken, (), retracts=False)
        self._waiting.forget(session, waiting)
        return True

    def _take_waiting(self, waiting: Waiting, session: Session, text: str) -> tuple[Taken, RateLimited | None]:
        """The row of a question that has waited, and why it fails, if its owner's limits refuse it for long."""
        target = self._target_of(waiting, session, text)
        model = self._pool.offered(waiting.model) if waiting.model else None
        refused = None
        try:
            self._admission.admit(session, waiting.id, self._admission.at_most(session, text, model))
        except RateLimited as error:
            seconds = error.retry_after or 1
            if seconds <= MAX_DEFERRAL.total_seconds():
                self._waiting.defer(waiting, self._clock.now() + timedelta(seconds=seconds))
                raise GenerationInProgress from None
            refused = error
        try:
            return self._admission.insert(waiting.id, session, target, model, waiting), refused
        except Exception:
            if refused is None:
                self._limits.cancel(session, waiting.id)
            raise

    def _target_of(self, waiting: Waiting, session: Session, text: str) -> Target:
        """Where it goes: after the end of the current branch, also where what it was to follow is there no more."""
        parent: Parent = CURRENT_LEAF
        if waiting.parent_id is not None:
            parent = None if waiting.parent_id == session.id else waiting.parent_id
        try:
            return self._targets.find(session, Ask(text, parent))
        except (NoSuchMessage, TooManyBranches):
            return self._targets.find(session, Ask(text, CURRENT_LEAF))

    def _fail(self, taken: Taken, error: RateLimited) -> None:
        """End a generation that was not admitted at its turn."""
        with suppress(EndedBefore):
            self._admission.announce(taken)
        failed = Outcome(GenerationState.FAILED, {"problem": error.problem()}, error.slug)
        self._finalizer.finalize_from_outside(taken.generation.id, failed, Generation.state == GenerationState.QUEUED)
