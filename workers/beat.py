"""beat's scheduler: Celery's, without its file, and without a page of traceback for each task that can't be sent."""

import logging
from typing import Any

from celery import beat, signals

from broker.causes import BrokerAway, told_of, translate_errors
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

    producer = None
    """Celery's own would be kept with a channel of a connection that is no more. Without one each task is sent over a
    connection of the application's pool, which connects anew."""

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
            with translate_errors(BROKER_VARIABLE, self.app.conf.broker_url):
                if self._waiting() >= len(self.schedule):
                    logger.warning("%s is not sent: no worker takes what was sent before", entry.task)
                    return
                self.apply_async(entry, advance=False)
        except (BrokerAway, beat.SchedulingError) as error:
            told = told_of(error, BROKER_VARIABLE, self.app.conf.broker_url)
            logger.error("%s could not be sent: %s", entry.task, told)
        except Exception:  # which is not to keep the other tasks from being sent
            logger.exception("%s could not be sent", entry.task)

    def _waiting(self) -> int:
        try:
            return queue_length(self.connection, QueueNames.MAINTENANCE)
        except Exception:  # of any transport: the connection has broken since it was used last
            self.connection.collect()
            return queue_length(self.connection, QueueNames.MAINTENANCE)
