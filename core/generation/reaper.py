"""Looks after generations whose worker is gone: hands them off, or ends them."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from core.clock import Clock
from core.conversation.removals import Removals
from core.errors import GenerationLost
from core.generation.attempts import MAX_ATTEMPTS, Attempts
from core.generation.finalizer import Finalizer, Outcome
from core.generation.scheduler import FairQueue
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, GenerationState

BATCH_SIZE = 500
NOBODY_CAME = GenerationLost("No worker was free to answer in time. Please ask again.")


@dataclass(frozen=True)
class Reaped:
    """What one look found."""

    handed_off: tuple[UUID, ...]
    """Generations that are queued again; the caller sends their tasks."""
    waiting: tuple[UUID, ...]
    """Others that wait. The caller sends tasks for them too, which are not wanted for longer than until the next
    look: their own may have been lost, or have come when there was no slot for them."""
    ended: int
    told: int


class Reaper:
    """Runs on a schedule. Two at once do no harm: every transition has one winner."""

    def __init__(
        self,
        database: Database,
        attempts: Attempts,
        queue: FairQueue,
        finalizer: Finalizer,
        removals: Removals,
        clock: Clock,
    ) -> None:
        self._database = database
        self._removals = removals
        self._attempts = attempts
        self._queue = queue
        self._finalizer = finalizer
        self._clock = clock

    def reap(self) -> Reaped:
        """Hand off what has lapsed, end what has been tried often enough or no worker claimed, publish ends that came
        while Redis was away, and remove what could not be removed then."""
        lapsed, unpublished = self._find(self._attempts.lease)
        waiting = self._queue.waiting()
        handed_off = []
        ended = 0
        for generation_id in lapsed:
            if self._attempts.hand_off_lapsed(generation_id):
                handed_off.append(generation_id)
            else:
                ended += self._end(generation_id)
        for generation_id in unpublished:
            self._finalizer.publish(generation_id, rendered=True)
        self._removals.drain()
        self._queue.publish_positions()
        return Reaped(tuple(handed_off), tuple(waiting), ended, len(unpublished))

    def _find(self, lease: timedelta) -> tuple[list[UUID], list[UUID]]:
        now = self._clock.now()
        with self._database.reading() as db:
            # What somebody holds a lock on is left for the next look: one frozen worker must not hold up the others'.
            lapsed = (
                select(Generation.id).where(IS_LIVE, Generation.lease_until < now).with_for_update(skip_locked=True)
            )
            unpublished = select(Generation.id).where(
                Generation.unpublished.is_not(None), Generation.finished_at < now - lease
            )
            return list(db.scalars(lapsed.limit(BATCH_SIZE))), list(db.scalars(unpublished.limit(BATCH_SIZE)))

    def _end(self, generation_id: UUID) -> bool:
        lapsed = Generation.lease_until < self._clock.now()
        ways = (
            (Outcome(GenerationState.STOPPED), Generation.stop_requested.is_(True)),
            (_failed(NOBODY_CAME), Generation.state == GenerationState.QUEUED),
            (_failed(GenerationLost()), Generation.attempt >= MAX_ATTEMPTS),
        )
        return any(
            self._finalizer.finalize_from_outside(generation_id, end, lapsed, when, rendered=True)
            for end, when in ways
        )


def _failed(error: GenerationLost) -> Outcome:
    return Outcome(GenerationState.FAILED, {"problem": error.problem()}, error.slug)
