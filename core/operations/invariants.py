"""What must hold whatever process has died, checked from outside; core/operations/healing.py heals what does not."""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, or_, select, tuple_
from sqlalchemy.orm import aliased

from core.clock import Clock
from core.conversation.event_log import PAGE_SIZE, EventLog
from core.conversation.keys import keys
from core.limits.rate_limit import PREFIX
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.redis import Redis
from core.stores.tables import IS_LIVE, Generation, GenerationState, Message, Session, Waiting

BATCH = 500
"""Ids in one SQL statement, or findings of one kind."""
RECENT_ANSWERS = 1000
"""Answers whose logs and settlements are looked at, the newest ones: looking at all of them could take minutes."""
RECENT_MESSAGES = 1000
"""Messages whose parents are looked for, the newest ones."""
SLACK = timedelta(seconds=1)
"""How long what runs on a schedule may itself take."""
SECOND_LOOK_DELAY = 1.0
"""Seconds between two looks: what is only in the middle of a step at the first has taken it at the second."""
TERMINAL = (GenerationState.DONE, GenerationState.STOPPED, GenerationState.FAILED)
MEANINGS = {
    "owned": "no generation is live without a live lease for longer than the reaper's period",
    "leases": "no lease of an owner's without its live generation",
    "slots": "no slot of a provider's without its live generation",
    "reserved": "no tokens are reserved without their live generation",
    "settled": "an owner's budget was charged what an ended generation has used, its thinking once",
    "one-end": "an ended generation has exactly one end in its log, and is not said to be written there",
    "promoted": "no question waits for longer than the reaper's period although nothing is live in its session",
    "told": "no end waits longer than a lease and the reaper's period to be told and settled",
    "forgotten": (
        "no words in Redis of a session that is gone, or expired for longer than the sweep's period, "
        "or whose words are in SQL"
    ),
    "tree": "a message follows an older one of its session, and the end of a branch that was turned to is there",
}
"""The invariants by their names, which are the labels of /metrics."""


@dataclass(frozen=True)
class InvariantResult:
    """One invariant, checked, and what breaks it."""

    name: str
    meaning: str
    ids: tuple[str, ...] = ()
    """Of generations or sessions. Empty: it holds."""


@dataclass(frozen=True)
class Periods:
    """How long a dead process may leave an invariant broken until it is healed."""

    lease: timedelta
    reap_every: timedelta
    sweep_every: timedelta


class Invariants:
    """The checks. They read; two at once, or beside a running system, do no harm."""

    def __init__(
        self,
        periods: Periods,
        database: Database,
        redis: Redis,
        log: EventLog,
        quarantine: Quarantine[str],
        clock: Clock,
    ) -> None:
        self._quarantine = quarantine
        self._periods = periods
        self._database = database
        self._redis = redis
        self._log = log
        self._clock = clock
        self._checks: dict[str, Callable[[], Iterator[str]]] = {
            "owned": self._abandoned,
            "leases": lambda: self._idle(self._held("concurrent")),
            "slots": lambda: self._idle(self._held("slots")),
            "reserved": lambda: self._idle(self._reserved()),
            "settled": self._badly_settled,
            "one-end": self._badly_ended,
            "promoted": self._unpromoted,
            "told": self._untold,
            "forgotten": self._unforgotten,
            "tree": self._uprooted,
        }

    def check(self) -> list[InvariantResult]:
        """All invariants. One is broken by what breaks it at two looks, a moment apart.

        A check that can't be made holds up no other, and is left out. Raises Unavailable when a store is away.
        """
        first = self._look_at(MEANINGS)
        suspect = [result.name for result in first if result.ids]
        if not suspect:
            return first
        time.sleep(SECOND_LOOK_DELAY)
        second = {result.name: {*result.ids} for result in self._look_at(suspect)}
        return [replace(each, ids=tuple(sorted({*each.ids} & second.get(each.name, set())))) for each in first]

    def unchecked(self) -> Sequence[str]:
        """What the checks so far could not look at: invariants by their names, sessions, and keys of Redis."""
        return sorted(self._quarantine.failed())

    def _look_at(self, names: Iterable[str]) -> list[InvariantResult]:
        def look(name: str) -> InvariantResult:
            return InvariantResult(name, MEANINGS[name], tuple(sorted(set(self._checks[name]()))))

        return self._quarantine.for_each(names, look)

    def _abandoned(self) -> Iterator[str]:
        until = self._clock.now() - self._periods.reap_every - SLACK
        return self._generations(IS_LIVE, Generation.lease_until < until)

    def _unpromoted(self) -> Iterator[str]:
        now = self._clock.now()
        until = now - self._periods.lease - self._periods.reap_every - SLACK
        of_session = exists().where(Generation.session_id == Waiting.session_id)
        stuck = select(Waiting.id).where(
            Waiting.created_at < until,
            or_(Waiting.not_before.is_(None), Waiting.not_before < until),
            ~of_session.where(IS_LIVE),
            ~of_session.where(Generation.finished_at >= until),
        )
        with self._database.reading() as db:
            return map(str, db.scalars(stuck.limit(BATCH)).all())

    def _untold(self) -> Iterator[str]:
        until = self._clock.now() - self._periods.lease - self._periods.reap_every - SLACK
        return self._generations(Generation.unpublished.is_not(None), Generation.finished_at < until)

    def _generations(self, *conditions: ColumnElement[bool]) -> Iterator[str]:
        with self._database.reading() as db:
            found = db.scalars(select(Generation.id).where(*conditions).limit(BATCH)).all()
        return map(str, found)

    def _badly_settled(self) -> Iterator[str]:
        recent = select(Generation.id).order_by(Generation.id.desc()).limit(RECENT_ANSWERS)
        used = func.coalesce(Generation.prompt_tokens, 0) + func.coalesce(Generation.completion_tokens, 0)
        return self._generations(
            Generation.id.in_(recent),
            Generation.state.in_(TERMINAL),
            Generation.unpublished.is_(None),
            or_(
                Generation.settled_tokens.is_distinct_from(used),
                Generation.reasoning_tokens > Generation.completion_tokens,
            ),
        )

    def _idle(self, held: set[UUID]) -> Iterator[str]:
        """The generations that hold something although they have not been live for longer than a lease: what a dead
        process holds heals within one."""
        healed = self._clock.now() - self._periods.lease - SLACK
        with self._database.reading() as db:
            excused: set[UUID] = set()
            for some in _batches(held):
                excused.update(
                    db.scalars(
                        select(Generation.id).where(
                            Generation.id.in_(some),
                            or_(
                                IS_LIVE,
                                Generation.finished_at >= healed,
                                Generation.unpublished.is_not(None),
                            ),
                        )
                    )
                )
        return map(str, held - excused)

    def _held(self, policy: str) -> set[UUID]:
        seconds, microseconds = self._redis.time()
        now = seconds * 1_000_000 + microseconds

        def holders(key: str) -> set[UUID]:
            # A slot's holder is the generation's id, and more.
            return {UUID(str(holder)[:36]) for holder in self._redis.zrangebyscore(key, f"({now}", "+inf")}

        return set[UUID]().union(*self._quarantine.for_each(self._keys(f"{PREFIX}{policy}:*"), holders))

    def _reserved(self) -> set[UUID]:
        def reserved(key: str) -> set[UUID]:
            return {UUID(str(item)) for item in self._redis.hkeys(key)}

        return set[UUID]().union(*self._quarantine.for_each(self._keys(f"{PREFIX}reserved:*"), reserved))

    def _keys(self, pattern: str) -> Iterator[str]:
        return map(str, self._redis.scan_iter(pattern, count=BATCH))

    def _badly_ended(self) -> Iterator[str]:
        with self._database.reading() as db:
            rows = db.execute(
                select(Generation.session_id, Generation.id)
                .where(Generation.state.in_(TERMINAL), Generation.unpublished.is_(None))
                .order_by(Generation.id.desc())
                .limit(RECENT_ANSWERS)
            ).all()
        ended: dict[str, set[str]] = {}
        for session_id, generation_id in rows:
            ended.setdefault(str(session_id), set()).add(str(generation_id))
        broken = self._quarantine.for_each(ended, lambda each: self._badly_ended_in(UUID(each), ended[each]))
        return chain.from_iterable(broken)

    def _badly_ended_in(self, session_id: UUID, ids: set[str]) -> set[str]:
        """Of a session's ended generations, given by their ids, those whose log says something else."""
        generation, answer = self._redis.hmget(keys(session_id).meta, ["generation", "answer"])
        written = {str(generation)} & ids if answer is not None else set()
        begun, ends = self._begun_and_ends(session_id)
        # Where the beginning has been trimmed, or lost by Redis, the end may rightly be missing too.
        return written | {each for each in ids if ends[each] > 1 or (each in begun and ends[each] == 0)}

    def _begun_and_ends(self, session_id: UUID) -> tuple[set[str], Counter[str]]:
        begun, ends = set(), Counter[str]()
        after = 0
        while page := self._log.read(session_id, after).events:
            for event in page:
                if event.type == "queued":
                    begun.add(str(json.loads(event.data)["generation_id"]))
                elif event.type in TERMINAL:
                    ends[str(json.loads(event.data)["generation_id"])] += 1
            after = page[-1].offset
            if len(page) < PAGE_SIZE:
                break
        return begun, ends

    def _unforgotten(self) -> Iterator[str]:
        kept: dict[UUID, bool] = {}
        for session_id, in_list in self._quarantine.for_each(self._keys("sb:{*-*}:*"), _session_and_kind):
            kept[session_id] = kept.get(session_id, False) or in_list
        swept = self._clock.now() - self._periods.sweep_every - SLACK
        with self._database.reading() as db:
            in_sql: dict[UUID, bool] = {}
            for some in _batches(kept):
                living = select(Session).where(Session.id.in_(some), Session.expires_at >= swept)
                in_sql.update({session.id: not session.words_in_redis for session in db.scalars(living)})
        for session_id, in_list in kept.items():
            if session_id not in in_sql or (in_list and in_sql[session_id]):
                yield str(session_id)

    def _uprooted(self) -> Iterator[str]:
        """Messages without what they follow, and sessions without the end of their branch: the newest of them."""
        child, parent, leaf = aliased(Message), aliased(Message), aliased(Message)
        older = tuple_(parent.created_at, parent.id) < tuple_(child.created_at, child.id)
        recent = select(Message.id).order_by(Message.id.desc()).limit(RECENT_MESSAGES)
        uprooted = select(child.id).where(
            child.id.in_(recent),
            child.parent_id != child.session_id,
            ~exists().where(parent.id == child.parent_id, parent.session_id == child.session_id, older),
        )
        turned = select(Session.id).where(
            Session.leaf_id.is_not(None), ~exists().where(leaf.id == Session.leaf_id, leaf.session_id == Session.id)
        )
        with self._database.reading() as db:
            found = [*db.scalars(uprooted.limit(BATCH)), *db.scalars(turned.limit(BATCH))]
        return map(str, found)


def _session_and_kind(key: str) -> tuple[UUID, bool]:
    """The session whose key it is, and whether it holds what of an owned session is in SQL."""
    return UUID(key[4:40]), key.endswith((":words", ":settings"))


def _batches(ids: Collection[UUID]) -> Iterator[list[UUID]]:
    every = list(ids)
    return (every[at : at + BATCH] for at in range(0, len(every), BATCH))
