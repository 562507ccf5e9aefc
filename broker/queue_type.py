"""Queues that exist already, with another type than the one that is configured, which RabbitMQ never changes."""

import re

from amqp.exceptions import PreconditionFailed
from celery import Celery

__all__ = ["PreconditionFailed", "explain_mismatch", "mismatch"]


def mismatch(app: Celery, wanted: str, queue: str) -> str:
    """What is wrong with the queue, in words, or nothing; the queue is declared if it is not there."""
    with app.connection_for_write() as connection:
        try:
            app.amqp.queues[queue](connection.default_channel).declare()
        except PreconditionFailed as error:
            return explain_mismatch(error, wanted)
    return ""


def explain_mismatch(error: PreconditionFailed, wanted: str) -> str:
    """What is wrong with the queue that a worker could not declare with the type `wanted`, and what to do."""
    found = re.search(r"queue '([^']+)'", str(error.reply_text))
    name = found.group(1) if found else "a queue"
    return (
        f"{name} exists on the broker, and not as SWITCHBOARD_QUEUE_TYPE={wanted} declares it ({error.reply_text}). "
        f"Set the type that it has, or delete it when it is empty: rabbitmqctl delete_queue {name} --if-empty"
    )
