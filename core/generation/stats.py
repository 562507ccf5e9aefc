"""How much is under way, for monitoring: read often, so it costs one query of the live generations."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from core.clock import Clock
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, GenerationState


@dataclass(frozen=True)
class Live:
    """The generations that have not ended."""

    queued: int
    running: int
    oldest_queued: timedelta
    """How long ago the oldest of the queued ones was asked for; nothing when none is queued."""


class Load:
    """Counts. It reads, and changes nothing."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def live(self) -> Live:
        """The live generations, however many have ended. Raises Unavailable."""
        with self._database.reading() as db:
            rows = db.execute(
                select(Generation.state, func.count(), func.min(Generation.created_at))
                .where(IS_LIVE)
                .group_by(Generation.state)
            ).all()
        counts = {state: count for state, count, _ in rows}
        now = self._clock.now()
        oldest = next((oldest for state, _, oldest in rows if state == GenerationState.QUEUED), now)
        # The servers' clocks need not agree to the millisecond.
        waited = max(timedelta(), now - oldest)
        return Live(counts.get(GenerationState.QUEUED, 0), counts.get(GenerationState.RUNNING, 0), waited)
