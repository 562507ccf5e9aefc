"""Replies to commands whose message never becomes a run: of an unknown task, unreadable, expired, or revoked.

The note that the sender has left under the task's id (core/messaging/replies.py) says whose the reply is.
"""

import logging
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
    """Celery's consumer, which says of a message that can't be decoded nothing but a line in the log."""

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Reply, and drop the message."""
        super().on_decode_error(message, exc)
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
    if "id" in headers:
        _answer(str(headers["id"]), properties.get("reply_to"), problem)


def _answer(task_id: str, channel: str | None, problem: SwitchboardError) -> None:
    try:
        pending = runtime.replies.find(task_id)
        if pending is not None and pending.state == "pending":
            runtime.replies.send(replace(pending, problem=problem.problem()), channel)
    except Unavailable as error:
        logger.warning("a reply could not be sent: %s", type(error.cause).__name__, extra={"task_id": task_id})
