"""A worker's attempt at a generation: the row's transitions, each a compare-and-set that one caller wins."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from threading import Event as Flag
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, bindparam, or_, select, true, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.sql.dml import ReturningUpdate

from core.clock import Clock
from core.conversation.finished_messages import Newest, read_newest
from core.conversation.handover import Handover
from core.conversation.position import Producer
from core.generation.draft import Draft
from core.generation.handovers import Handovers
from core.generation.usage import UsageMeter
from core.limits.message_limits import owner_of
from core.llm.providers.base import Usage
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, GenerationState, Session

MAX_ATTEMPTS = 3
"""Workers that may try one generation: one that no worker survives is not tried for ever."""
ENQUEUE_TIMEOUT = timedelta(seconds=30)
"""How long the front end may take from a generation's row to its place in the queue; then it has died."""
QUEUE_TIMEOUT = timedelta(seconds=60)
"""How long a generation may wait while no other one is taken either: then there is no worker."""
OWNED_LOG_TTL = timedelta(hours=24)
"""How long an owned session's log is kept at the most."""


class LeaseLost(Exception):
    """The attempt does not own its generation any more, and must not write a word further."""


class Prefetched(NamedTuple):
    """What a claim has read of a session, for the first prompt."""

    session: Session
    newest: Newest | None
    """Of an owned session's words. None: they are to be read when they are wanted."""


class Kept(NamedTuple):
    """What of an answer was there before a generation that goes on with it."""

    length: int
    """Characters of the text."""
    thinking: int
    """Characters of the thinking."""


NOTHING_KEPT = Kept(0, 0)


@dataclass(frozen=True, eq=False)
class Attempt:
    """A generation that this process may write, and the number that fences off earlier attempts.

    Its values never change. What grows while the answer is written is in parts with an owner each, no other module
    changes them: `draft` is GenerationEvents', `usage_meter` ModelCalls', `prefetched` Prompts', `handovers` the
    Writer's, `followed` the Finalizer's, `stop_requested`, `sequence` and the meter's `noted` this one's.
    Each attempt has its own.
    """

    generation_id: UUID
    session_id: UUID
    owner: UUID
    """The owner whose limits count it."""
    model: str
    """The model of its row when the attempt began."""
    number: int
    anonymous: bool
    keep_until: datetime
    """How long the log lives."""
    handovers: Handovers
    asked_at: datetime | None = None
    """When the question was taken."""
    request_id: str | None = None
    """Of the question's request."""
    traceparent: str | None = None
    """Of the request's span."""
    waited: bool = False
    """Whether its question has waited, so that its id is older than its turn."""
    question_id: UUID | None = None
    """The message that it answers. None for what versions long before have accepted."""
    answer_id: UUID | None = None
    """The message that it writes, if it goes on with one that had ended."""
    kept: Kept = NOTHING_KEPT
    max_tokens: int | None = None
    """The tokens that it is to have at the most, where its question says so."""
    ephemeral: bool = False
    """Whether it is for a request that brought its own conversation."""
    draft: Draft = field(default_factory=Draft)
    usage_meter: UsageMeter = field(default_factory=UsageMeter)
    stop_requested: Flag = field(default_factory=Flag)
    """Set once the row says that the answer is to stop."""
    followed: Flag = field(default_factory=Flag)
    """Set once it has ended, if questions wait for that."""
    prefetched: list[Prefetched] = field(default_factory=list)
    """One, until it is taken from here."""
    sequence: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def words_in_redis(self) -> bool:
        """Whether its words must not reach SQL."""
        return self.anonymous or self.ephemeral

    @property
    def message_id(self) -> UUID:
        """Of the message that it writes."""
        return self.answer_id or self.generation_id

    @property
    def goes_on(self) -> bool:
        """Whether it goes on with an answer that had ended."""
        return self.answer_id is not None

    @property
    def has_words(self) -> bool:
        """Whether any of the answer has been written that was not there before."""
        return self.draft.length > self.kept.length or self.draft.thinking_length > self.kept.thinking

    @property
    def usage(self) -> Usage:
        """What the answer counts for, without what was there before. Each model that it was handed over to was sent
        the prompt again."""
        usage = self.usage_meter.usage(*self.added)
        sent = 1 + sum(each.at >= self.kept.length for each in self.handovers.made)
        return usage._replace(prompt_tokens=usage.prompt_tokens * sent)

    @property
    def added(self) -> tuple[str, str]:
        """The text and the thinking that it has added."""
        return self.draft.text[self.kept.length :], self.draft.thinking.text[self.kept.thinking :]

    def next_producer(self) -> Producer:
        """The producer of the attempt's next event."""
        return Producer(self.generation_id, self.number, next(self.sequence))


class Owned(NamedTuple):
    """Which of several attempts own their rows. Of those that are neither, somebody has locked the row."""

    held: set[Attempt]
    lost: set[Attempt]


class Attempts:
    """Claims generations, renews their leases, hands them off."""

    def __init__(self, database: Database, clock: Clock, lease: timedelta) -> None:
        self._database = database
        self._clock = clock
        self.lease = lease
        """How long a silent worker keeps a generation."""

    def claim(self, generation_id: UUID) -> Attempt | None:
        """Take a queued generation, or None when it is not queued (any more)."""
        return next(iter(self.claim_all([generation_id])), None)

    def claim_all(self, generation_ids: Sequence[UUID]) -> list[Attempt]:
        """Take those of the generations that are queued."""
        return [attempt for attempt, _ in self.claim_with(_CLAIM_ALL, {"ids": generation_ids})]

    def claim_with(self, claiming: "Claiming", parameters: Mapping[str, Any]) -> list[tuple[Attempt, bool]]:
        """Take generations with a statement of `claiming`; each with the value of `also` in its row."""
        now = self._clock.now()
        with self._database.writing() as db:
            # Past the ORM, which takes as long again: the rows are only read, here.
            values = {**parameters, "now": now, "until": now + self.lease}
            rows = db.connection().execute(claiming, values).all()
            living = db.scalars(_SESSIONS, {"ids": [row.session_id for row in rows]}).all() if rows else ()
            sessions = {session.id: session for session in living}
            return [(self._claimed(row, sessions[row.session_id], db), bool(row.also)) for row in rows]

    def from_row(self, row: Generation, db_session: DatabaseSession) -> Attempt:
        """The attempt that a row is at: the first, if no worker has begun one."""
        return self._attempt(row, db_session.get_one(Session, row.session_id))

    def _claimed(self, row: Row[Any], session: Session, db_session: DatabaseSession) -> Attempt:
        attempt = self._attempt(row, session)
        newest = None if session.words_in_redis else _newest(row, db_session)
        attempt.prefetched.append(Prefetched(session, newest))
        return attempt

    def _attempt(self, row: Generation | Row[Any], session: Session) -> Attempt:
        attempt = Attempt(
            row.id,
            session.id,
            owner_of(session),
            row.model,
            max(row.attempt, 1),
            session.anonymous,
            keep_log_until(session, self._clock.now()),
            Handovers(row.model, map(Handover.load, row.handovers or ()), row.handover_to),
            row.created_at,
            row.request_id,
            row.traceparent,
            bool(row.waited),
            row.question_id,
            None if row.answer_id == row.id else row.answer_id,
            Kept(row.kept_length or 0, row.kept_thinking or 0),
            max_tokens=row.max_tokens,
            ephemeral=session.ephemeral,
            usage_meter=UsageMeter(row.prompt_tokens or 0),
        )
        if row.stop_requested:
            attempt.stop_requested.set()
        return attempt

    def renew(self, attempt: Attempt) -> None:
        """Renew the lease, and learn whether the answer is to stop. Raises LeaseLost."""
        with self._database.writing() as db:
            if not change(db, attempt, lease_until=self._clock.now() + self.lease):
                raise LeaseLost
            if db.get_one(Generation, attempt.generation_id).stop_requested:
                attempt.stop_requested.set()

    def renew_all(self, attempts: Collection[Attempt]) -> "Owned":
        """Renew the leases of many in one statement, and learn which answers are to stop. What their prompts count
        for is noted, for who ends them if this process dies."""
        with self._database.writing() as db:
            owned = _change_all(db, attempts, lease_until=self._clock.now() + self.lease)
            noted = _note_prompts(db, owned.held)
        for attempt, tokens in noted.items():
            attempt.usage_meter.noted = tokens
        return owned

    def seize(self, attempt: Attempt, *conditions: ColumnElement[bool]) -> Attempt | None:
        """Take a live generation from the worker that it has or had; the attempt that follows, or None when the row
        has changed meanwhile."""
        with self._database.writing() as db:
            seized = matched(
                db,
                attempt.generation_id,
                IS_LIVE,
                Generation.attempt == attempt.number,
                *conditions,
                state=GenerationState.RUNNING,
                attempt=attempt.number + 1,
                lease_until=self._clock.now() + self.lease,
            )
            return self.from_row(db.get_one(Generation, attempt.generation_id), db) if seized else None

    def hand_off(self, attempt: Attempt) -> None:
        """Give the generation back to the queue, for the next worker to carry on. Raises LeaseLost."""
        with self._database.writing_once() as db:
            if not change(
                db,
                attempt,
                state=GenerationState.QUEUED,
                prompt_tokens=attempt.usage_meter.prompt_tokens,
                lease_until=self._clock.now() + QUEUE_TIMEOUT,
                hand_offs=Generation.hand_offs + 1,
            ):
                raise LeaseLost

    def note_fallback(self, attempt: Attempt) -> None:
        """Another model is asked, in the place of one that has failed. Raises LeaseLost."""
        with self._database.writing_once() as db:
            if not change(db, attempt, fallbacks=Generation.fallbacks + 1):
                raise LeaseLost

    def find_handovers(self, attempts: Collection[Attempt]) -> None:
        """Look which of these answers another model is to carry on."""
        ids = [attempt.generation_id for attempt in attempts]
        with self._database.reading() as db:
            rows = select(Generation.id, Generation.handover_to).where(Generation.id.in_(ids))
            wanted = dict(db.execute(rows).all())
        for attempt in attempts:
            attempt.handovers.target = wanted.get(attempt.generation_id)

    def hand_over(self, attempt: Attempt, to_model: str) -> Handover | None:
        """Make another model the answer's own, from here on; None when nobody wants it any more. Raises LeaseLost."""
        handover = Handover(attempt.handovers.current, to_model, attempt.draft.length)
        made = [each.describe() for each in (*attempt.handovers.made, handover)]
        with self._database.writing() as db:
            if matched(
                db,
                attempt.generation_id,
                Generation.state == GenerationState.RUNNING,
                Generation.attempt == attempt.number,
                Generation.handover_to == to_model,
                model=to_model,
                handover_to=None,
                handovers=made,
            ):
                return handover
            if not change(db, attempt, state=GenerationState.RUNNING):
                raise LeaseLost
        return None

    def hand_off_lapsed(self, generation_id: UUID) -> bool:
        """Give a generation back to the queue when its worker has let the lease lapse; whether this call did."""
        now = self._clock.now()
        with self._database.writing_once() as db:
            return matched(
                db,
                generation_id,
                Generation.state == GenerationState.RUNNING,
                Generation.lease_until < now,
                Generation.attempt < MAX_ATTEMPTS,
                Generation.stop_requested.is_(False),
                state=GenerationState.QUEUED,
                lease_until=now + QUEUE_TIMEOUT,
            )


Claiming: TypeAlias = ReturningUpdate[Any]


def claiming(*conditions: ColumnElement[bool], also: ColumnElement[bool]) -> Claiming:
    """The statement that takes the queued generations that meet the conditions, and selects `also` of each."""
    return (
        update(Generation)
        .where(Generation.state == GenerationState.QUEUED, *conditions)
        .values(
            state=GenerationState.RUNNING,
            attempt=Generation.attempt + 1,
            started_at=bindparam("now"),
            lease_until=bindparam("until"),
        )
        .returning(Generation.__table__, also.label("also"))
    )


# Put together once, which takes as long as running them.
_CLAIM_ALL = claiming(Generation.id.in_(bindparam("ids", expanding=True)), also=true())
_SESSIONS = select(Session).where(Session.id.in_(bindparam("ids", expanding=True)))


def _newest(row: Row[Any], db_session: DatabaseSession) -> Newest | None:
    if row.question_id is None:
        return None
    try:
        return read_newest(db_session, row.session_id, row.question_id)
    except DBAPIError:
        raise
    except Exception:  # a message that can't be decoded fails the answer, and not the claim
        return None


_LOCK_SESSION = select(Session.id).where(Session.id == bindparam("id")).with_for_update(read=True, key_share=True)


def lock_session(db_session: DatabaseSession, session_id: UUID) -> None:
    """Keep the session from being deleted before the transaction ends. To be called before a generation of it is
    changed and messages are kept: a deletion locks the two in this order, and neither must wait for the other."""
    db_session.connection().execute(_LOCK_SESSION, {"id": session_id})


def lock_sessions(db_session: DatabaseSession, session_ids: Collection[UUID]) -> set[UUID]:
    """Do for many what `lock_session` does, but wait for none; those that could be locked."""
    lock = select(Session.id).where(Session.id.in_(session_ids))
    return set(db_session.scalars(lock.with_for_update(read=True, key_share=True, skip_locked=True)))


def hold(db_session: DatabaseSession, attempts: Collection[Attempt]) -> Owned:
    """Keep the rows that these attempts own from being changed before the transaction ends."""
    return _change_all(db_session, attempts, state=GenerationState.RUNNING)


def _change_all(db_session: DatabaseSession, attempts: Collection[Attempt], **values: Any) -> Owned:
    """Change the rows that these attempts still own. Waits for no lock, so that no row holds up the others."""
    numbers: defaultdict[int, list[UUID]] = defaultdict(list)
    for attempt in attempts:
        numbers[attempt.number].append(attempt.generation_id)
    of_them = or_(*(and_(Generation.attempt == number, Generation.id.in_(ids)) for number, ids in numbers.items()))
    owned = select(Generation.id).where(Generation.state == GenerationState.RUNNING, of_them)
    changed = db_session.execute(
        update(Generation)
        .where(Generation.id.in_(owned.with_for_update(key_share=True, skip_locked=True)))
        .values(**values)
        .returning(Generation.id, Generation.attempt, Generation.stop_requested, Generation.handover_to)
        .execution_options(synchronize_session=False)
    ).all()
    requested = {(row.id, row.attempt): row for row in changed}
    held = {attempt for attempt in attempts if (attempt.generation_id, attempt.number) in requested}
    for attempt in held:
        row = requested[attempt.generation_id, attempt.number]
        attempt.handovers.target = row.handover_to
        if row.stop_requested:
            attempt.stop_requested.set()
    if len(held) == len(attempts):
        return Owned(held, set())
    locked = set(db_session.scalars(owned)) - {attempt.generation_id for attempt in held}
    return Owned(held, {each for each in attempts if each not in held and each.generation_id not in locked})


_NOTE_PROMPT = (
    update(Generation.__table__)  # type: ignore[arg-type]
    .where(Generation.id == bindparam("generation_id"))
    .values(prompt_tokens=bindparam("tokens"))
)


def _note_prompts(db_session: DatabaseSession, attempts: Collection[Attempt]) -> Mapping[Attempt, int]:
    """Note what is new in rows that the caller has changed, and so locked; returns it."""
    tokens = {attempt: attempt.usage_meter.prompt_tokens for attempt in attempts}
    new = {attempt: count for attempt, count in tokens.items() if count != attempt.usage_meter.noted}
    if new:
        rows = [{"generation_id": attempt.generation_id, "tokens": count} for attempt, count in new.items()]
        db_session.connection().execute(_NOTE_PROMPT, rows)
    return new


def change(db_session: DatabaseSession, attempt: Attempt, **values: Any) -> bool:
    """Change the row if this attempt still owns it."""
    return matched(
        db_session,
        attempt.generation_id,
        Generation.state == GenerationState.RUNNING,
        Generation.attempt == attempt.number,
        **values,
    )


def matched(
    db_session: DatabaseSession, generation_id: UUID, *conditions: ColumnElement[bool], **values: Any
) -> bool:
    """Change the row if all conditions hold."""
    # Past the ORM, which would look for the row among those that the database session has read.
    change = update(Generation).where(Generation.id == generation_id, *conditions).values(**values)
    return db_session.connection().execute(change).rowcount == 1


def keep_log_until(session: Session, now: datetime) -> datetime:
    """How long a log is kept: with an anonymous session's words, as long as the session; an owned session's
    words are in SQL, and its log is for readers that come back soon."""
    if session.ephemeral:
        return session.ends_at  # its expiry is moved while somebody waits for the answer
    return session.expires_at if session.anonymous else min(session.expires_at, now + OWNED_LOG_TTL)
