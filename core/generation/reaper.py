"""Recovers generations whose worker is gone: hands them off, or ends them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from core.clock import Clock
from core.conversation.removals import Removals
from core.errors import GenerationLost
from core.generation.attempts import MAX_ATTEMPTS, Attempts
from core.generation.finalizer import Finalizer, Outcome
from core.generation.promotion import Promotion
from core.generation.scheduler import FairQueue
from core.generation.waiting import WaitingQuestions
from core.sessions.search import Search
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.tables import IS_LIVE, Generation, GenerationState
from core.stores.tally import AnswerTally

BATCH = 500
"""Generations of each kind that one run takes."""
NO_WORKER = GenerationLost("No worker was free to answer in time. Please ask again.")


@dataclass(frozen=True)
class Reaped:
    """What one run has found."""

    handed_off: tuple[UUID, ...]
    """Generations that are queued again; the caller sends their tasks."""
    promoted: tuple[UUID, ...]
    """Generations of questions that have waited for the end of another; the caller sends their tasks, too."""
    waiting: tuple[UUID, ...]
    """Others that wait. The caller sends tasks for them too, which are not wanted for longer than until the next
    run: their own may have been lost, or have come when there was no slot for them."""
    ended: int
    """Generations that were ended."""
    published: int
    """Ends that were published now, because Redis was away when they came."""


class Reaper:
    """Runs on a schedule. Two at once do no harm: every transition has one winner."""

    def __init__(
        self,
        database: Database,
        attempts: Attempts,
        queue: FairQueue,
        finalizer: Finalizer,
        removals: Removals,
        tally: AnswerTally,
        search: Search,
        waiting: WaitingQuestions,
        promotion: Promotion,
        quarantine: Quarantine[UUID],
        clock: Clock,
    ) -> None:
        self._database = database
        self._removals = removals
        self._tally = tally
        self._search = search
        self._waiting = waiting
        self._promotion = promotion
        self._attempts = attempts
        self._queue = queue
        self._finalizer = finalizer
        self._quarantine = quarantine
        self._clock = clock

    def reap(self) -> Reaped:
        """Hand off generations whose lease has lapsed, end those that were tried often enough or that no worker
        claimed, publish ends that came while Redis was away, remove what could not be removed then, count answers
        that have ended, and index what has been said.

        A generation that can't be handled holds up no other (core/stores/quarantine.py). Raises Unavailable
        when a store is away.
        """
        lapsed, unpublished = self._find()
        waiting = self._queue.waiting()
        recovered = self._quarantine.for_each(lapsed, self._recover)
        published = self._quarantine.for_each(unpublished, self._publish_end)
        due = self._waiting.due(BATCH)
        promoted = self._quarantine.for_each(due, self._promotion.promote)
        self._removals.drain()
        self._tally.count_ended()
        self._search.index_pending()
        self._queue.publish_positions()
        return Reaped(
            handed_off=tuple(generation_id for generation_id, handed_off, _ in recovered if handed_off),
            promoted=tuple(generation_id for generation_id in promoted if generation_id is not None),
            waiting=tuple(waiting),
            ended=sum(ended for *_, ended in recovered),
            published=len(published),
        )

    def _find(self) -> tuple[list[UUID], list[UUID]]:
        """The ids of generations whose lease has lapsed, and of those whose end is not published yet."""
        now = self._clock.now()
        to_try = Generation.id.not_in(self._quarantine.held())
        lapsed = select(Generation.id).where(IS_LIVE, Generation.lease_until < now, to_try).limit(BATCH)
        unpublished = select(Generation.id).where(
            Generation.unpublished.is_not(None), Generation.finished_at < now - self._attempts.lease, to_try
        )
        with self._database.reading() as db:
            # A row that another process has locked is left for the next run: a frozen worker must not hold up others.
            unlocked = lapsed.with_for_update(skip_locked=True)
            return list(db.scalars(unlocked)), list(db.scalars(unpublished.limit(BATCH)))

    def _recover(self, generation_id: UUID) -> tuple[UUID, bool, bool]:
        """Hand the generation off, or end it; whether this call did the one or the other."""
        if self._attempts.hand_off_lapsed(generation_id):
            return generation_id, True, False
        return generation_id, False, self._end(generation_id)

    def _publish_end(self, generation_id: UUID) -> None:
        self._finalizer.publish(generation_id, rendered=True)

    def _end(self, generation_id: UUID) -> bool:
        lapsed = Generation.lease_until < self._clock.now()
        ways = (
            (Outcome(GenerationState.STOPPED), Generation.stop_requested.is_(True)),
            (_failed(NO_WORKER), Generation.state == GenerationState.QUEUED),
            (_failed(GenerationLost()), Generation.attempt >= MAX_ATTEMPTS),
        )
        return any(
            self._finalizer.finalize_from_outside(generation_id, end, lapsed, when, rendered=True)
            for end, when in ways
        )


def _failed(error: GenerationLost) -> Outcome:
    return Outcome(GenerationState.FAILED, {"problem": error.problem()}, error.slug)
