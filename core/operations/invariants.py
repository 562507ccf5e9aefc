"""What must hold whatever has died: looked at from outside, changing nothing. core/operations/healing.py mends."""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select

from core.clock import Clock
from core.conversation.event_log import PAGE, EventLog, keys
from core.limits.rate_limit import PREFIX
from core.settings import Settings
from core.stores.database import Database
from core.stores.redis import Redis
from core.stores.tables import IS_LIVE, Generation, GenerationState, Session

BATCH = 500
"""Ids in one SQL statement, or findings of one kind."""
RECENT = 1000
"""Answers whose logs and settlements are looked at, the newest ones: looking at all of them could take minutes."""
SLACK = timedelta(seconds=1)
"""How long what runs on a schedule may itself take."""
SETTLE = 1.0
"""Seconds between two looks: what is only in the middle of a step at the first has taken it at the second."""
TERMINAL = (GenerationState.DONE, GenerationState.STOPPED, GenerationState.FAILED)


@dataclass(frozen=True)
class Finding:
    """One invariant, and what breaks it."""

    name: str
    meaning: str
    ids: tuple[str, ...] = ()
    """Of generations or sessions. Empty: it holds."""


class Invariants:
    """The checks. They read; two at once, or beside a running system, do no harm."""

    def __init__(self, settings: Settings, database: Database, redis: Redis, log: EventLog, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._redis = redis
        self._log = log
        self._clock = clock
        self._checks: list[tuple[str, str, Callable[[], Iterator[str]]]] = [
            (
                "owned",
                "no generation is live without a live lease for longer than the reaper's period",
                self._abandoned,
            ),
            (
                "leases",
                "no lease of an owner's without its live generation",
                lambda: self._idle(self._held("concurrent")),
            ),
            ("slots", "no slot of a provider's without its live generation", lambda: self._idle(self._held("slots"))),
            (
                "reserved",
                "no tokens are reserved without their live generation",
                lambda: self._idle(self._reserved()),
            ),
            (
                "settled",
                "an owner's budget was charged what an ended generation has used, its thinking once",
                self._badly_settled,
            ),
            (
                "one-end",
                "an ended generation has exactly one end in its log, and is not said to be written there",
                self._badly_ended,
            ),
            ("told", "no end waits longer than a lease and the reaper's period to be told and settled", self._untold),
            (
                "forgotten",
                "no words in Redis of a session that is gone, or expired for longer than the sweep's period, "
                "or whose words are in SQL",
                self._unforgotten,
            ),
        ]

    def check(self) -> list[Finding]:
        """All invariants. One is broken by what breaks it at two looks, a moment apart.

        Raises Unavailable.
        """
        first = [self._look(*check) for check in self._checks]
        if not any(finding.ids for finding in first):
            return first
        time.sleep(SETTLE)
        return [
            replace(before, ids=tuple(sorted({*before.ids} & {*self._look(*check).ids}))) if before.ids else before
            for before, check in zip(first, self._checks, strict=True)
        ]

    def _look(self, name: str, meaning: str, find: Callable[[], Iterator[str]]) -> Finding:
        return Finding(name, meaning, tuple(sorted(set(find()))))

    def _abandoned(self) -> Iterator[str]:
        until = self._clock.now() - self._settings.reap_every - SLACK
        return self._generations(IS_LIVE, Generation.lease_until < until)

    def _untold(self) -> Iterator[str]:
        until = self._clock.now() - self._settings.lease - self._settings.reap_every - SLACK
        return self._generations(Generation.untold.is_not(None), Generation.finished_at < until)

    def _generations(self, *conditions: ColumnElement[bool]) -> Iterator[str]:
        with self._database.reading() as db:
            found = db.scalars(select(Generation.id).where(*conditions).limit(BATCH)).all()
        return map(str, found)

    def _badly_settled(self) -> Iterator[str]:
        recent = select(Generation.id).order_by(Generation.id.desc()).limit(RECENT)
        used = func.coalesce(Generation.prompt_tokens, 0) + func.coalesce(Generation.completion_tokens, 0)
        return self._generations(
            Generation.id.in_(recent),
            Generation.state.in_(TERMINAL),
            Generation.untold.is_(None),
            or_(
                Generation.settled_tokens.is_distinct_from(used),
                Generation.reasoning_tokens > Generation.completion_tokens,
            ),
        )

    def _idle(self, held: set[UUID]) -> Iterator[str]:
        """Those that hold something although they are not live, for longer than a lease: what is held by somebody
        who has died heals within one."""
        healed = self._clock.now() - self._settings.lease - SLACK
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
                                Generation.untold.is_not(None),
                            ),
                        )
                    )
                )
        return map(str, held - excused)

    def _held(self, policy: str) -> set[UUID]:
        seconds, microseconds = self._redis.time()
        now = seconds * 1_000_000 + microseconds
        held: set[UUID] = set()
        for key in self._redis.scan_iter(f"{PREFIX}{policy}:*", count=BATCH):
            # A slot's holder is the generation's id, and more.
            held.update(UUID(str(holder)[:36]) for holder in self._redis.zrangebyscore(key, f"({now}", "+inf"))
        return held

    def _reserved(self) -> set[UUID]:
        keys_of_owners = self._redis.scan_iter(f"{PREFIX}reserved:*", count=BATCH)
        return {UUID(str(item)) for key in keys_of_owners for item in self._redis.hkeys(key)}

    def _badly_ended(self) -> Iterator[str]:
        with self._database.reading() as db:
            rows = db.execute(
                select(Generation.session_id, Generation.id)
                .where(Generation.state.in_(TERMINAL), Generation.untold.is_(None))
                .order_by(Generation.id.desc())
                .limit(RECENT)
            ).all()
        ended: dict[UUID, set[str]] = {}
        for session_id, generation_id in rows:
            ended.setdefault(session_id, set()).add(str(generation_id))
        for session_id, ids in ended.items():
            generation, answer = self._redis.hmget(keys(session_id).meta, ["generation", "answer"])
            if answer is not None and generation in ids:
                yield str(generation)
            begun, ends = self._begun_and_ends(session_id)
            # Where the beginning has been trimmed, or lost by Redis, the end may rightly be missing too.
            yield from (each for each in ids if ends[each] > 1 or (each in begun and ends[each] == 0))

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
            if len(page) < PAGE:
                break
        return begun, ends

    def _unforgotten(self) -> Iterator[str]:
        kept: dict[UUID, bool] = {}
        for key in self._redis.scan_iter("sb:{*-*}:*", count=BATCH):
            session_id, in_list = UUID(str(key)[4:40]), str(key).endswith(":words")
            kept[session_id] = kept.get(session_id, False) or in_list
        swept = self._clock.now() - self._settings.sweep_every - SLACK
        with self._database.reading() as db:
            owners: dict[UUID, UUID | None] = {}
            for some in _batches(kept):
                living = select(Session.id, Session.owner_id).where(Session.id.in_(some), Session.expires_at >= swept)
                owners.update(db.execute(living).all())
        for session_id, in_list in kept.items():
            if session_id not in owners or (in_list and owners[session_id] is not None):
                yield str(session_id)


def _batches(ids: Collection[UUID]) -> Iterator[list[UUID]]:
    every = list(ids)
    return (every[at : at + BATCH] for at in range(0, len(every), BATCH))
