"""Heals what breaks an invariant, where that is safe: what no live generation holds is given back, and what can't be
reached is removed.

Only in a Redis of this installation's own: what another one has there looks as if nothing held it.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select

from core.conversation.event_log import EventLog
from core.conversation.keys import keys
from core.limits.rate_limit import PREFIX
from core.operations.installation import OWNER_KEY, Installations
from core.operations.invariants import BATCH, InvariantResult
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.redis import Redis
from core.stores.tables import Session

logger = logging.getLogger(__name__)


class Healing:
    """Heals broken invariants. Each was broken at two checks; see core/operations/invariants.py."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        installations: Installations,
        log: EventLog,
        quarantine: Quarantine[str],
    ) -> None:
        self._database = database
        self._redis = redis
        self._installations = installations
        self._log = log
        self._quarantine = quarantine

    def heal(self, results: Sequence[InvariantResult]) -> Mapping[str, int]:
        """By the name of the invariant, how much of what broke it was healed; one that can't be holds up no other.

        Nothing is healed in a Redis that holds what is another installation's, or that another one uses. Raises
        Unavailable when a store is away.
        """
        if not self._installations.owns() or self._installations.are_several():
            if any(each.ids for each in results):
                logger.error(
                    "nothing is healed: REDIS_URL holds what is another installation's, whose database is another; if"
                    " that one is no more: DEL %s",
                    OWNER_KEY,
                )
            return {}
        remedies = {
            "leases": lambda ids: self._release("concurrent", ids),
            "slots": lambda ids: self._release("slots", ids),
            "reserved": self._unreserve,
            "forgotten": self._forget,
        }
        broken = {each.name: set(each.ids) for each in results if each.ids and each.name in remedies}
        healed = self._quarantine.for_each(broken, lambda name: (name, remedies[name](broken[name])))
        return {name: count for name, count in healed if count}

    def _release(self, policy: str, generations: Collection[str]) -> int:
        """Take their leases from them. A slot's holder is the generation's id, and more."""

        def release(key: str) -> int:
            holders = [each for each in map(str, self._redis.zrange(key, 0, -1)) if each[:36] in generations]
            return int(self._redis.zrem(key, *holders)) if holders else 0

        return sum(self._quarantine.for_each(self._keys(f"{PREFIX}{policy}:*"), release))

    def _unreserve(self, generations: Collection[str]) -> int:
        """Drop what is reserved for them: it is spent, as what was never settled is."""

        def unreserve(key: str) -> int:
            return int(self._redis.hdel(key, *generations))

        return sum(self._quarantine.for_each(self._keys(f"{PREFIX}reserved:*"), unreserve))

    def _keys(self, pattern: str) -> Iterator[str]:
        return map(str, self._redis.scan_iter(pattern, count=BATCH))

    def _forget(self, session_ids: Collection[str]) -> int:
        """Remove the words of sessions that are gone, and from Redis those of sessions that have an owner. The
        sweep removes those that have expired."""
        ids = [UUID(each) for each in session_ids]
        with self._database.reading() as db:
            found = db.scalars(select(Session).where(Session.id.in_(ids)))
            in_sql = {session.id: not session.words_in_redis for session in found}

        def forget(session_id: UUID) -> bool:
            if session_id not in in_sql:
                self._log.close(session_id, "deleted")
                return True
            if not in_sql[session_id]:
                return False
            self._redis.delete(keys(session_id).words, keys(session_id).settings)
            return True

        return sum(self._quarantine.for_each(map(str, ids), lambda each: forget(UUID(each))))
