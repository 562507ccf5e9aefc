"""Looks after generations whose worker is gone: hands them on, or ends them."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from core.attempt import MAX_ATTEMPTS, Attempts
from core.clock import Clock
from core.database import Database
from core.ending import Endings
from core.errors import GenerationLost
from core.models import LIVE, Generation, GenerationState

BATCH = 500


@dataclass(frozen=True)
class Reaped:
    """What one look found."""

    handed_on: tuple[UUID, ...]
    """Generations that are queued again; the caller sends their tasks."""
    ended: int
    told: int


class Reaper:
    """Runs on a schedule. Two at once do no harm: every transition has one winner."""

    def __init__(self, database: Database, attempts: Attempts, endings: Endings, clock: Clock) -> None:
        self._database = database
        self._attempts = attempts
        self._endings = endings
        self._clock = clock

    def reap(self) -> Reaped:
        """Hand on what has lapsed, end what has been tried often enough or nobody picked up, and tell of ends
        that came while Redis was away."""
        lapsed, untold = self._find(self._attempts.lease)
        handed_on = []
        ended = 0
        for generation_id in lapsed:
            if self._attempts.hand_on_lapsed(generation_id):
                handed_on.append(generation_id)
            else:
                ended += self._end(generation_id)
        for generation_id in untold:
            self._endings.tell(generation_id)
        return Reaped(tuple(handed_on), ended, len(untold))

    def _find(self, lease: timedelta) -> tuple[list[UUID], list[UUID]]:
        now = self._clock.now()
        with self._database.reading() as db:
            lapsed = select(Generation.id).where(Generation.state.in_(LIVE), Generation.lease_until < now)
            untold = select(Generation.id).where(Generation.untold.is_not(None), Generation.finished_at < now - lease)
            return list(db.scalars(lapsed.limit(BATCH))), list(db.scalars(untold.limit(BATCH)))

    def _end(self, generation_id: UUID) -> bool:
        lapsed = Generation.lease_until < self._clock.now()
        stopped = self._endings.end_from_outside(
            generation_id, GenerationState.STOPPED, {}, lapsed, Generation.stop_requested.is_(True)
        )
        return stopped or self._endings.end_from_outside(
            generation_id,
            GenerationState.FAILED,
            {"problem": GenerationLost().problem()},
            lapsed,
            (Generation.state == GenerationState.QUEUED) | (Generation.attempt >= MAX_ATTEMPTS),
        )
