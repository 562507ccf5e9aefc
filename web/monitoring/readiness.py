"""What is missing for the system to do its work: every part is asked at once, and has to answer in time."""

from collections.abc import Callable
from concurrent.futures import wait

from celery_config import QueueNames
from core.errors import NotMigrated, WritesRefused
from core.messaging.consumers import Presence
from core.operations.installation import Installations
from core.operations.job_runs import JobRuns
from core.stores.redis import Redis, RedisWritesRefused
from core.stores.writable import require_writable
from web.monitoring.queue_lengths import Queues
from web.monitoring.single_flight import SingleFlight

DEADLINE = 0.4
"""Seconds that all parts have together, so that the question is answered within half a second."""


class Readiness:
    """Asks the parts. One that hangs holds up one thread, however often it is asked."""

    def __init__(
        self,
        require_database: Callable[[float], None],
        redis: Redis,
        queues: Queues,
        presence: Presence,
        runs: JobRuns,
        installations: Installations,
    ) -> None:
        """`require_database` raises when the database does not answer within so many seconds, or is not migrated."""
        self._require_database = require_database
        self._redis = redis
        self._queues = queues
        self._presence = presence
        self._runs = runs
        self._installations = installations
        self._checks: dict[str, SingleFlight[list[str]]] = {
            "database": SingleFlight("ready-database", self._missing_in_database),
            "redis": SingleFlight("ready-redis", self._missing_in_redis),
            "broker": SingleFlight("ready-broker", self._missing_in_broker),
        }

    def missing(self) -> list[str]:
        """What is missing, by name; of a store that does not answer, the store itself."""
        checks = {part: check.start() for part, check in self._checks.items()}
        wait(checks.values(), timeout=DEADLINE)
        missing: list[str] = []
        for part, check in checks.items():
            missing += check.result() if check.done() and check.exception() is None else [part]
        return missing

    def _missing_in_database(self) -> list[str]:
        try:
            self._require_database(DEADLINE)
        except NotMigrated:
            return ["database, which is not migrated"]
        except WritesRefused:
            return ["database, which takes no writes"]
        return []

    def _missing_in_broker(self) -> list[str]:
        self._queues.ping()
        return []

    def _missing_in_redis(self) -> list[str]:
        try:
            require_writable(self._redis)
        except RedisWritesRefused:
            return ["redis, which takes no writes"]
        if self._installations.are_several():
            return ["a redis of its own: another installation uses it"]
        unserved = self._presence.missing(QueueNames.ALL)
        return [
            *(f"consumer of {queue}" for queue in unserved),
            *(f"{job}, which has not run lately" for job in self._runs.overdue()),
        ]
