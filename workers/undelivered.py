"""Replies to commands whose message never becomes a run: of an unknown task, unreadable, expired, or revoked.

The note that the sender has left under the task's id (core/messaging/replies.py) says whose the reply is.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from celery import Task, signals
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.message import Message

from core.errors import QueueSlow, SwitchboardError, Unavailable
from core.operations.counters import Outcome
from workers.app import app, runtime

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""What a task is called in the metrics whose name no worker knows."""


class Consumer(CeleryConsumer):
    """Celery's consumer, which also survives a message of the wrong shape, and replies to what it can't decode.

    Celery's own ends the worker over JSON that is no task. Delivered again, the message would end the next one.
    """

    def create_task_handler(self, **options: Any) -> Callable[[Message], None]:
        """What is done with a message that has come."""
        handle: Callable[[Message], None] = super().create_task_handler(**options)

        def on_task_received(message: Message) -> None:
            try:
                handle(message)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                self.on_decode_error(message, error)

        return on_task_received

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Reply, and drop the message."""
        logger.error("a message could not be decoded: %s", type(exc).__name__, extra={"task_id": _task_id(message)})
        message.ack_log_error(logger, self.connection_errors)
        answer_unreadable(message)


@signals.task_rejected.connect
def answer_unreadable(message: Message, **_: Any) -> None:
    """Reply to a command whose arguments can't be read."""
    _answer_message(message, SwitchboardError())


@signals.task_unknown.connect
def answer_unknown(message: Message, **_: Any) -> None:
    """Reply to a command that this worker does not know: it is older, or newer, than the sender."""
    _answer_message(message, Unavailable("No worker knows this command; try again in a moment.", retry_after=2))


@signals.task_revoked.connect
def answer_revoked(sender: Task, request: Any, expired: bool, **_: Any) -> None:
    """Reply to a command that no worker took in time, or that an operator has revoked."""
    runtime.counters.count_outcome(sender.name, Outcome.EXPIRED if expired else Outcome.REJECTED)
    if request.reply_to:
        _answer(request.id, request.reply_to, QueueSlow() if expired else Unavailable())


def _answer_message(message: Message, problem: SwitchboardError) -> None:
    headers, properties = message.headers or {}, message.properties or {}
    name = str(headers.get("task"))
    runtime.counters.count_outcome(name if name in app.tasks else UNKNOWN, Outcome.REJECTED)
    _answer(_task_id(message), properties.get("reply_to"), problem)


def _task_id(message: Message) -> str:
    return str((message.headers or {}).get("id"))


def _answer(task_id: str, channel: str | None, problem: SwitchboardError) -> None:
    try:
        pending = runtime.replies.find(task_id)
        if pending is not None and pending.state == "pending":
            runtime.replies.send(replace(pending, problem=problem.problem()), channel)
    except Unavailable as error:
        logger.warning("a reply could not be sent: %s", type(error.cause).__name__, extra={"task_id": task_id})
