"""Wake-ups of chat workers: a task on the queue `chat` only has a worker look at the queue of generations."""

import logging
from collections.abc import Sequence
from uuid import UUID

from broker.causes import BrokerAway, translate_errors
from broker.queue_length import queue_length
from celery_config import BROKER_VARIABLE, QueueNames, TaskNames, broker_url
from workers.app import app

logger = logging.getLogger(__name__)


def wake_worker(generation_id: UUID, expires: float | None = None) -> bool:
    """Have a chat worker look at the queue of generations; whether the broker has taken that. If not, the reaper does
    it later.

    After `expires` seconds the wake-up is not wanted any more.
    """
    try:
        with translate_errors(BROKER_VARIABLE, broker_url):
            app.send_task(TaskNames.GENERATE, [str(generation_id)], expires=expires)
    except BrokerAway as error:
        logger.warning("no worker could be called, the reaper does it later: %s", error.reason)
        return False
    return True


def wake_workers(generation_ids: Sequence[UUID], expires: float) -> None:
    """Have so many chat workers look at the queue of generations, less those that the broker's messages will wake.

    While all workers are busy the messages of former periods still lie there, and are enough.
    """
    wanted = generation_ids[: max(0, len(generation_ids) - _waiting_messages())] if generation_ids else ()
    for generation_id in wanted:
        if not wake_worker(generation_id, expires):
            return  # the broker is away for the others, too


def _waiting_messages() -> int:
    try:
        with translate_errors(BROKER_VARIABLE, broker_url), app.connection_for_write() as connection:
            return queue_length(connection, QueueNames.CHAT)
    except BrokerAway:
        return 0  # sending says so
