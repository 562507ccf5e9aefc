"""The consumer of a worker: Celery's, with what each room of ours adds to it."""

from celery.worker.consumer import Consumer as CeleryConsumer

from workers import undelivered

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(undelivered.Consumer):
    """A consumer that leaves alone all queues that are not ours."""

    class Blueprint(CeleryConsumer.Blueprint):
        """Without Celery's own way to delay messages in RabbitMQ: 28 more queues, replicated as well, for retries
        that wait a few seconds in the worker's memory."""

        default_steps = [step for step in CeleryConsumer.Blueprint.default_steps if step != DELAYED_DELIVERY]
