"""The sweep: sessions that have expired, and accounts that have been given up, in bounded batches."""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import takewhile
from time import monotonic
from uuid import UUID

from sqlalchemy import Select, delete, select

from core.clock import Clock
from core.conversation.removals import Batch, Removals
from core.sessions.deletion import Deletion
from core.sessions.service import Backlog, Ending, SessionService
from core.stores.among import among
from core.stores.database import Database
from core.stores.one_behind import OneBehind
from core.stores.quarantine import Quarantine
from core.stores.tables import Session, User

BATCH = 500
"""Rows in one transaction, so that a long sweep never holds the write lock for long."""
PAGE = 10_000
"""Expired sessions that one look at the index finds: the index keeps what has been deleted until it is vacuumed, and
a look from its beginning for each batch would pass over all of that again."""
NO_END = math.inf
"""For `until`: a sweep that ends with what there is to sweep."""


class Sweeper:
    """Deletes sessions: all that have expired, and all of an account that has been given up."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        deletion: Deletion,
        removals: Removals,
        quarantine: Quarantine[UUID],
        clock: Clock,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._deletion = deletion
        self._removals = removals
        self._quarantine = quarantine
        self._clock = clock

    def sweep_expired(
        self, batch: int = BATCH, *, until: float = NO_END, on_deleted: Callable[[int], None] = lambda _: None
    ) -> int:
        """Delete expired sessions in bounded batches; returns how many. `on_deleted` is called with each batch's
        number once its rows are gone, whatever becomes of the run.

        No batch is begun after `until`, by `time.monotonic`. A session that can't be deleted holds up no other.
        Raises Unavailable when the database is away.
        """
        batches = takewhile(lambda _: monotonic() < until, self._find_expired(batch))
        # While Redis is told of one batch, the rows of the next go.
        with OneBehind() as beside:

            def then(batch: Batch) -> None:
                on_deleted(len(batch.removals))
                beside.run(self._removals.carry_out, batch)

            delete = partial(self._delete_expired, then=then)
            return sum(sum(self._quarantine.for_batch(each, delete)) for each in batches)

    def backlog(self) -> Backlog:
        """What a sweep would find now. Cheap: reads the end of an index. Raises Unavailable."""
        with self._database.reading() as db:
            return self._sessions.backlog(db)

    def finish_deletions(self, *, until: float = NO_END, on_deleted: Callable[[int], None] = lambda _: None) -> int:
        """Remove the accounts that have been given up and are still there; returns how many were removed. After
        `until`, by `time.monotonic`, no further one is begun. `on_deleted` is called with 1 for each."""
        given_up = select(User.id).where(User.deleted_at.is_not(None), User.id.not_in(self._quarantine.held()))
        with self._database.reading() as db:
            ids = db.scalars(given_up.limit(BATCH)).all()
        in_time = takewhile(lambda _: monotonic() < until, ids)

        def finish(user_id: UUID) -> None:
            self._finish_deletion(user_id)
            on_deleted(1)

        return len(self._quarantine.for_each(in_time, finish))

    def remove_account(self, user_id: UUID) -> bool:
        """Remove an account that has been given up: its sessions first, in bounded batches, and then the rest.

        Returns whether it is gone.

        Nobody can use it any more, so no session is added. Safe to repeat, and to run twice at once. A session that
        can't be deleted holds up no other, and the account stays with it for the next sweep. Raises Unavailable.
        """
        while ids := self._find_given_up(user_id):
            self._quarantine.for_batch(ids, lambda some: self._delete_given_up(user_id, some))
        with self._database.writing() as db:
            if db.scalar(_owned_by_given_up(user_id).limit(1)) is not None:
                return False
            db.execute(delete(User).where(User.id == user_id, User.deleted_at.is_not(None)))
        return True

    def _find_expired(self, batch: int) -> Iterator[Sequence[UUID]]:
        """Batches of the expired sessions, each found once, those first that expired first."""
        since: datetime | None = None
        before: Sequence[UUID] = ()
        while True:
            with self._database.reading() as db:
                found = self._sessions.find_expired(db, PAGE, since=since, excluding=self._quarantine.held())
            page = [session_id for session_id, _ in found]
            if page == before:  # all of one moment, and none of them could be deleted
                return
            yield from (page[at : at + batch] for at in range(0, len(page), batch))
            if len(page) < PAGE:
                return
            # Several may have expired at that moment: those that are still there are found once more.
            before, since = page, found[-1][1]

    def _finish_deletion(self, user_id: UUID) -> None:
        if not self.remove_account(user_id):
            raise RuntimeError("sessions of the account are left")  # so that others are looked at before it

    def _find_given_up(self, user_id: UUID) -> Sequence[UUID]:
        with self._database.reading() as db:
            return db.scalars(_owned_by_given_up(user_id).where(Session.id.not_in(self._quarantine.held()))).all()

    def _delete_given_up(self, user_id: UUID, session_ids: Sequence[UUID]) -> None:
        with self._database.writing() as db:
            mine = _owned_by_given_up(user_id).where(among(Session.id, session_ids, db)).with_for_update(of=Session)
            rows = db.execute(mine.with_only_columns(Session.id, Session.owner_id, Session.ephemeral))
            ending = [Ending._make(row) for row in rows]
            batch = self._deletion.delete_locked(ending, "deleted", db)
        self._removals.carry_out(batch)

    def _delete_expired(self, session_ids: Sequence[UUID], then: Callable[[Batch], None]) -> int:
        """Delete those of the sessions that are still expired and that no other sweep has locked; returns how many.
        `then` has what is to be carried out after it."""
        with self._database.writing() as db:
            locked = self._sessions.lock_expired(db, len(session_ids), ids=session_ids)
            batch = self._deletion.delete_locked(locked, "expired", db)
        then(batch)
        return len(locked)


def _owned_by_given_up(user_id: UUID) -> Select[UUID]:
    """Up to BATCH sessions of an account that has been given up."""
    given_up = User.deleted_at.is_not(None)
    return select(Session.id).join(User, User.id == Session.owner_id).where(User.id == user_id, given_up).limit(BATCH)
