"""The consumer of a worker: Celery's, with what each room of ours adds to it."""

import logging
from typing import Any

from celery.exceptions import WorkerShutdown
from celery.worker.consumer import Consumer as CeleryConsumer

from broker.queue_type import PreconditionFailed, explain_mismatch
from workers import undelivered

logger = logging.getLogger(__name__)

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(undelivered.Consumer):
    """A consumer that says what is wrong with a queue, and leaves alone all that are not ours."""

    class Blueprint(CeleryConsumer.Blueprint):
        """Without Celery's own way to delay messages in RabbitMQ: 28 more queues, replicated as well, for retries
        that wait a few seconds in the worker's memory."""

        default_steps = [step for step in CeleryConsumer.Blueprint.default_steps if step != DELAYED_DELIVERY]

    def start(self, *args: Any, **options: Any) -> None:
        """Consume until the worker stops. Raises WorkerShutdown when a queue exists with another type."""
        try:
            super().start(*args, **options)
        except PreconditionFailed as error:
            logger.critical("%s", explain_mismatch(error, self.app.conf.task_default_queue_type))
            raise WorkerShutdown(1) from None
