"""The Celery application and the base of all tasks."""

import logging
from contextlib import suppress
from typing import Any
from uuid import UUID

from celery import Celery, Task, signals
from kombu.exceptions import OperationalError

from celery_config import HOLDER, QueueNames, TaskNames
from core.errors import SwitchboardError, Unavailable
from core.messaging.replies import Reply
from core.operations.file_descriptors import raise_limit
from core.runtime import Runtime
from core.settings import Settings
from core.stores.redis import translate_errors

logger = logging.getLogger(__name__)

runtime = Runtime(Settings(), pool_size=40, redis_retries=6)

app = Celery("switchboard")
app.config_from_object("celery_config")
app.conf.imports = ("workers.sessions", "workers.chat", "workers.maintenance", "workers.schedule")


class Command(Task):
    """A task that somebody may be waiting for: its return value, or what went wrong, is the reply.

    The reply is sent when the task's body has returned, so after its commit, and whatever happens. One that is
    delivered again after its reply was kept only sends that again.
    """

    abstract = True

    def __call__(self, session_id: str, *args: Any, **kwargs: Any) -> None:
        """Run the body and reply."""
        task_id = self.request.id or session_id
        holder = (self.request.headers or {}).get(HOLDER, "")
        reply = _kept(task_id)
        if reply is None:
            try:
                reply = Reply(task_id, session_id, holder, result=super().__call__(session_id, *args, **kwargs))
            except SwitchboardError as error:
                reply = Reply(task_id, session_id, holder, problem=error.problem())
            except Exception:
                self._reply(Reply(task_id, session_id, holder, problem=SwitchboardError().problem()))
                raise
        self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        try:
            runtime.replies.send(reply, self.request.reply_to)
        except Unavailable as error:
            # The row is the truth; whoever waits asks again, and finds it.
            logger.warning(
                "a reply could not be sent: %s", type(error.cause).__name__, extra={"task_id": reply.task_id}
            )


def _kept(task_id: str) -> Reply | None:
    """What this command has been answered before, if that is known."""
    try:
        kept = runtime.replies.find(task_id)
    except Unavailable:
        return None
    return None if kept is None or kept.state == "pending" else kept


def call_worker(generation_id: UUID, expires: float | None = None) -> None:
    """Have a chat worker look at the line. Without the broker, the reaper does so when it is back."""
    try:
        with translate_errors():
            app.send_task(TaskNames.GENERATE, [str(generation_id)], expires=expires)
    except (OperationalError, Unavailable) as error:
        cause = error.cause if isinstance(error, Unavailable) else error
        logger.warning("no worker could be called, the reaper does it later: %s", type(cause).__name__)


@signals.heartbeat_sent.connect
def announce_queues(sender: Any, **_: Any) -> None:
    """With every heartbeat, tell /readyz which queues this worker serves."""
    try:
        runtime.presence.announce(_queues(), sender.eventer.hostname)
    except Unavailable as error:
        logger.warning("this worker's heartbeat could not be told: %s", type(error.cause).__name__)


@signals.worker_shutdown.connect
def withdraw_queues(sender: Any, **_: Any) -> None:
    """Tell /readyz that this worker serves no more."""
    with suppress(Unavailable):  # then its heartbeat runs out
        runtime.presence.withdraw(_queues(), sender.hostname)


def _queues() -> set[str]:
    return set(app.amqp.queues.consume_from or {}) & set(QueueNames.ALL)


@signals.celeryd_after_setup.connect
def raise_descriptors(**_: Any) -> None:
    """Let the worker hold as many connections as the system allows, also without `switchboard up` before it."""
    raise_limit()


@signals.celeryd_after_setup.connect
def warm_models(**_: Any) -> None:
    """Make the models' clients before the first question comes, where questions are answered."""
    if QueueNames.CHAT in _queues():
        runtime.models.warm()


@signals.worker_shutting_down.connect
def stop_generations(**_: Any) -> None:
    """Hand on the answers being written, between two tokens."""
    runtime.writer.stopping.set()
