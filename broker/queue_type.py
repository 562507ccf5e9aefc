"""Queues that exist already, with another type than the one that is configured, which RabbitMQ never changes."""

import re

from amqp.exceptions import PreconditionFailed
from celery import Celery


def mismatch(app: Celery, wanted: str, queue: str) -> str:
    """What is wrong with the queue, in words, or nothing; the queue is declared if it is not there."""
    with app.connection_for_write() as connection:
        try:
            app.amqp.queues[queue](connection.default_channel).declare()
        except PreconditionFailed as error:
            return explain_mismatch(error, wanted)
    return ""


def is_mismatch(error: Exception) -> bool:
    """Whether it says that a queue has another type. What else fails for a precondition is the channel's: too late an
    acknowledgement, or one of a message that it did not deliver."""
    return isinstance(error, PreconditionFailed) and "inequivalent arg" in str(error.reply_text)


def explain_mismatch(error: Exception, wanted: str) -> str:
    """What is wrong with the queue that a worker could not declare with the type `wanted`, and what to do."""
    said = getattr(error, "reply_text", error)
    found = re.search(r"queue '([^']+)'", str(said))
    name = found.group(1) if found else "a queue"
    return (
        f"{name} exists on the broker, and not as SWITCHBOARD_QUEUE_TYPE={wanted} declares it ({said}). "
        f"Set the type that it has, or delete it when it is empty: rabbitmqctl delete_queue {name} --if-empty"
    )
