"""What is missing for the system to do its work: every part is asked at once, and has to answer in time."""

from concurrent.futures import wait

from celery_config import QueueNames
from core.messaging.writable import require_writable
from core.runtime import Runtime
from web.monitoring.queue_lengths import Queues
from web.monitoring.single_flight import Glance

DEADLINE = 0.4
"""Seconds that all parts have together, so that the question is answered within half a second."""


class Readiness:
    """Looks. A part that hangs holds up one thread, however often it is asked for."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queues = Queues(runtime.settings.broker_url)
        self._glances: dict[str, Glance[list[str]]] = {
            "database": Glance("ready-database", self._of_the_database),
            "redis": Glance("ready-redis", self._of_redis),
            "broker": Glance("ready-broker", self._of_the_broker),
        }

    def missing(self) -> list[str]:
        """What is missing, by name; of a store that does not answer, the store itself."""
        looking = {part: glance.begin() for part, glance in self._glances.items()}
        wait(looking.values(), timeout=DEADLINE)
        missing: list[str] = []
        for part, looked in looking.items():
            missing += looked.result() if looked.done() and looked.exception() is None else [part]
        return missing

    def _of_the_database(self) -> list[str]:
        self._runtime.database.ping(DEADLINE)
        return []

    def _of_the_broker(self) -> list[str]:
        self._queues.ping()
        return []

    def _of_redis(self) -> list[str]:
        require_writable(self._runtime.redis)
        unserved = self._runtime.presence.missing(QueueNames.ALL)
        return [
            *(f"consumer of {queue}" for queue in unserved),
            *(f"{job}, which has not run lately" for job in self._runtime.runs.overdue()),
        ]
