"""Replies to commands whose message never becomes a run: of an unknown task, unreadable, expired, or revoked.

Whose the replies are is in the message's headers or, where those can't be read or are of an older web process, in the
note that the sender has left under the task's id (core/messaging/replies.py).
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from celery import Task, signals
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.message import Message

from broker.redis_transport import MALFORMED
from core.errors import QueueSlow, SwitchboardError, Unavailable
from core.messaging.replies import Reply, sendable
from core.operations.counters import Outcome
from workers.app import app, runtime
from workers.calls import noted
from workers.events import EventGathering
from workers.protocol import require_call
from workers.reconnection import Consumer as ReconnectingConsumer
from workers.task import Command

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""What a task whose name no worker knows is called in the metrics."""


class Consumer(EventGathering, ReconnectingConsumer):
    """Celery's consumer, which also survives a message of the wrong shape, and replies to what never becomes a run.

    Celery's own ends the worker over JSON that is no task. Delivered again, the message would end the next one. It
    also logs what it drops with its body, which is not for logs.
    """

    def create_task_handler(self, **options: Any) -> Callable[[Message], None]:
        """What is done with a message that has come."""
        handle: Callable[[Message], None] = super().create_task_handler(**options)

        def on_task_received(message: Message) -> None:
            try:
                require_call(message.headers, message.payload)
                handle(message)
            except (*MALFORMED, DecodeError, ContentDisallowed) as error:
                self.on_decode_error(message, error)

        return on_task_received

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Drop a message that can't be read, and reply."""
        logger.error("a message could not be decoded: %s", type(exc).__name__, extra={"task_id": _task_id(message)})
        self._drop(message)
        _answer_message(message, SwitchboardError())

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Drop a message whose headers can't be understood, such as when it expires, and reply."""
        self.on_decode_error(message, exc)

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Drop a message whose task this worker does not know, being older or newer than the sender, and reply."""
        logger.error("a message is of no task that this worker knows", extra={"task_id": _task_id(message)})
        self._drop(message)
        _answer_message(message, Unavailable("No worker knows this command; try again in a moment.", retry_after=2))

    def _drop(self, message: Message) -> None:
        if not message.acknowledged:
            message.ack_log_error(logger, self.connection_errors)


@signals.task_revoked.connect
def answer_revoked(sender: Task, request: Any, expired: bool, **_: Any) -> None:
    """Reply to commands that no worker took in time, or that an operator has revoked."""
    pending = noted(request.headers or {})
    runtime.counters.count_outcomes(
        sender.name, [Outcome.EXPIRED if expired else Outcome.REJECTED] * max(1, len(pending))
    )
    if isinstance(sender, Command):
        problem = QueueSlow(retry_after=2) if expired else Unavailable(retry_after=2)
        _answer(request.id, pending, request.reply_to, problem)


def _answer_message(message: Message, problem: SwitchboardError) -> None:
    headers, properties = message.headers or {}, message.properties or {}
    name, pending = str(headers.get("task")), noted(headers)
    runtime.counters.count_outcomes(name if name in app.tasks else UNKNOWN, [Outcome.REJECTED] * max(1, len(pending)))
    _answer(_task_id(message), pending, properties.get("reply_to"), problem)


def _task_id(message: Message) -> str:
    return sendable(str((message.headers or {}).get("id")))


def _answer(task_id: str, pending: list[Reply], channel: str | None, problem: SwitchboardError) -> None:
    try:
        task_ids = [reply.task_id for reply in pending] or [task_id]
        kept = runtime.replies.find_all(task_ids)
        named = [found or reply for found, reply in zip_longest(kept, pending)]
        unanswered = [reply for reply in named if reply is not None and reply.state == "pending"]
        if unanswered:
            told = {"problem": problem.problem(), "retry_after": problem.retry_after}
            runtime.replies.send([replace(reply, **told) for reply in unanswered], channel)
    except Unavailable as error:
        logger.warning("a reply could not be sent: %s", error.reason, extra={"task_id": task_id})
