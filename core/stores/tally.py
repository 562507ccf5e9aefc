"""Counts answers that have ended, each once, whatever dies.

The row of an answer is marked in the transaction that ends it. Who counts takes the mark away and adds to the tally,
in one transaction; or deletes the row with its session, and counts it in the same. So writing an answer costs nothing
more, and what is counted is neither lost with its session nor with Redis. What users' answers come to is added to
their daily usage as well (core/stores/daily_usage.py).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as DatabaseSession

from core.stores.among import among
from core.stores.daily_usage import add_usage
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.tables import IS_LIVE, Generation, Tally

BATCH = 500
"""Answers that are counted in one transaction, and in one run."""


class AnswerTally:
    """What is counted of answers. All methods raise Unavailable when the database is away."""

    def __init__(
        self,
        database: Database,
        count: Callable[[Sequence[Generation]], Mapping[str, float]],
        quarantine: Quarantine[UUID],
    ) -> None:
        """`count`: how much answers add to each sample. One that is live has been deleted."""
        self._database = database
        self._count = count
        self._quarantine = quarantine

    def count_ended(self) -> int:
        """Count the answers that have ended since; returns how many. One that can't be counted holds up no other."""
        uncounted = select(Generation.id).where(
            Generation.uncounted.is_not(None), Generation.id.not_in(self._quarantine.held())
        )
        with self._database.reading() as db:
            ids = db.scalars(uncounted.limit(BATCH)).all()
        return sum(self._quarantine.for_batch(ids, self._count_all))

    def count_deleted(self, session_ids: Collection[UUID], db_session: DatabaseSession) -> Sequence[Generation]:
        """Count what is deleted with these sessions, in the caller's transaction, before it is: those that are live,
        and those that have ended and are not counted. Returns them."""
        of_them = select(Generation.id).where(
            among(Generation.session_id, session_ids, db_session), or_(IS_LIVE, Generation.uncounted.is_not(None))
        )
        # Past the ORM: most often there are none.
        ids = db_session.connection().execute(of_them.with_for_update()).scalars().all()
        gone = (
            db_session.scalars(select(Generation).where(among(Generation.id, ids, db_session))).all() if ids else []
        )
        self._add(gone, db_session)
        return gone

    def samples(self) -> Mapping[str, float]:
        """All that has been counted, by sample."""
        with self._database.reading() as db:
            return dict(db.execute(select(Tally.sample, Tally.value)).all())

    def _count_all(self, generation_ids: Sequence[UUID]) -> int:
        # What a deletion has locked, it counts itself.
        theirs = select(Generation.id).where(Generation.id.in_(generation_ids), Generation.uncounted.is_not(None))
        counted = (
            update(Generation)
            .where(Generation.id.in_(theirs.with_for_update(skip_locked=True)))
            .values(uncounted=None)
            .returning(Generation)
            .execution_options(synchronize_session=False)
        )
        with self._database.writing() as db:
            answers = db.scalars(counted).all()
            self._add(answers, db)
        return len(answers)

    def _add(self, answers: Sequence[Generation], db_session: DatabaseSession) -> None:
        added = self._count(answers) if answers else {}
        # In one order, so that no two that count wait for each other in a circle.
        rows = [{"sample": sample, "value": value} for sample, value in sorted(added.items())]
        if rows:
            db_session.execute(_ADD[db_session.get_bind().dialect.name], rows)
        add_usage(answers, db_session)


def _addition(dialect: Any) -> postgresql.Insert | sqlite.Insert:
    """The statement that adds to a sample, or begins it."""
    new: postgresql.Insert | sqlite.Insert = dialect.insert(Tally.__table__)
    return new.on_conflict_do_update(
        index_elements=["sample"], set_={"value": Tally.__table__.c.value + new.excluded.value}
    )


_ADD = {"sqlite": _addition(sqlite), "postgresql": _addition(postgresql)}
