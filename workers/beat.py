"""beat's scheduler: Celery's, without its file, and without a page of traceback for each task that can't be sent."""

import logging
from typing import Any

from celery import beat, signals

from broker.queue_length import queue_length
from celery_config import BROKER_VARIABLE, STATE_DIRECTORY, QueueNames, broker_url
from core.operations.liveness import Liveness
from core.operations.preflight.stores import require_stores, store_checks
from workers.brokers import broker_checks

logger = logging.getLogger(__name__)

SCHEDULER = "scheduler"
SCHEDULER_LIMIT = 120.0
"""Seconds for the tasks that are due, each of which waits for a broker that is away, with deadlines."""

liveness = Liveness()


@signals.beat_init.connect
def start(**_: Any) -> None:
    """See whether the broker can be used, and begin to tell `switchboard alive` of this process."""
    broker = store_checks(broker_url=broker_url, broker_variable=BROKER_VARIABLE)
    require_stores(broker or broker_checks(BROKER_VARIABLE, broker_url))
    liveness.expect(SCHEDULER, SCHEDULER_LIMIT)
    liveness.start("beat", STATE_DIRECTORY)


class Scheduler(beat.Scheduler):
    """Sends what is due. What can't be sent is made up for by its next period."""

    def tick(self, *args: Any, **options: Any) -> float:
        """Send what is due now; the seconds until there is more."""
        liveness.turned(SCHEDULER)
        seconds: float = super().tick(*args, **options)
        return seconds

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send one task, if the broker takes it, and if those sent before are being taken.

        Without a maintenance worker messages would pile up in the queue for as long as it is away.
        """
        try:
            if queue_length(self.connection, QueueNames.MAINTENANCE) >= len(self.schedule):
                logger.warning("%s is not sent: no worker takes what was sent before", entry.task)
                return
            self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # every transport has errors of its own
            logger.error("%s could not be sent: %s", entry.task, type(error.__context__ or error).__name__)
