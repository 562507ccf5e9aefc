"""Mends what breaks an invariant, where that is safe: gives back what nobody holds, removes what nobody can reach."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select

from core.conversation.event_log import EventLog, keys
from core.limits.rate_limit import PREFIX
from core.operations.invariants import BATCH, Finding
from core.stores.database import Database
from core.stores.redis import Redis
from core.stores.tables import Session


class Healing:
    """What is found broken has been so at two looks; see core/operations/invariants.py."""

    def __init__(self, database: Database, redis: Redis, log: EventLog) -> None:
        self._database = database
        self._redis = redis
        self._log = log

    def heal(self, findings: Sequence[Finding]) -> Mapping[str, int]:
        """By the name of the invariant, how much of what broke it was mended. Raises Unavailable."""
        ways = {
            "leases": lambda ids: self._release("concurrent", ids),
            "slots": lambda ids: self._release("slots", ids),
            "reserved": self._unreserve,
            "forgotten": self._forget,
        }
        healed = {each.name: ways[each.name](set(each.ids)) for each in findings if each.ids and each.name in ways}
        return {name: count for name, count in healed.items() if count}

    def _release(self, policy: str, generations: Collection[str]) -> int:
        """Take their leases from them. A slot's holder is the generation's id, and more."""
        released = 0
        for key in self._redis.scan_iter(f"{PREFIX}{policy}:*", count=BATCH):
            holders = [each for each in map(str, self._redis.zrange(key, 0, -1)) if each[:36] in generations]
            if holders:
                released += int(self._redis.zrem(key, *holders))
        return released

    def _unreserve(self, generations: Collection[str]) -> int:
        """Drop what is reserved for them: it is spent, as what nobody settled is."""
        return sum(
            int(self._redis.hdel(key, *generations))
            for key in self._redis.scan_iter(f"{PREFIX}reserved:*", count=BATCH)
        )

    def _forget(self, session_ids: Collection[str]) -> int:
        """Remove the words of sessions that are gone, and from Redis those of sessions that have an owner. The
        sweep removes those that have expired."""
        ids = [UUID(each) for each in session_ids]
        with self._database.reading() as db:
            owners = dict(db.execute(select(Session.id, Session.owner_id).where(Session.id.in_(ids))).all())
        forgotten = 0
        for session_id in ids:
            if session_id not in owners:
                self._log.close(session_id, "deleted")
            elif owners[session_id] is not None:
                self._redis.delete(keys(session_id).words)
            else:
                continue
            forgotten += 1
        return forgotten
