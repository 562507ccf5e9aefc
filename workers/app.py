"""The Celery application and the base of all tasks."""

from typing import Any

from celery import Celery, Task, signals

from celery_config import QueueNames
from core.errors import SwitchboardError
from core.replies import Reply
from core.runtime import Runtime
from core.settings import Settings

runtime = Runtime(Settings(), pool_size=40, redis_retries=6)

app = Celery("switchboard")
app.config_from_object("celery_config")
app.conf.imports = ("workers.sessions", "workers.chat", "workers.maintenance")


class Command(Task):
    """A task that somebody may be waiting for: its return value, or the domain's error, is the reply.

    The reply is sent when the task's body has returned, so after its commit.
    """

    abstract = True

    def __call__(self, session_id: str, *args: Any, **kwargs: Any) -> None:
        """Run the body and reply."""
        task_id = self.request.id or session_id
        try:
            result = super().__call__(session_id, *args, **kwargs)
            reply = Reply(task_id, session_id, result=result)
        except SwitchboardError as error:
            reply = Reply(task_id, session_id, problem=error.problem())
        runtime.replies.send(reply, self.request.reply_to)


@signals.heartbeat_sent.connect
def announce_queues(sender: Any, **_: Any) -> None:
    """With every heartbeat, tell /readyz which queues this worker serves."""
    runtime.presence.announce(_queues(), sender.eventer.hostname)


@signals.worker_shutdown.connect
def withdraw_queues(**_: Any) -> None:
    """Tell /readyz that this worker serves no more."""
    if queues := _queues():
        runtime.presence.withdraw(queues)


def _queues() -> set[str]:
    return set(app.amqp.queues.consume_from or {}) & set(QueueNames.ALL)


@signals.celeryd_after_setup.connect
def warm_models(**_: Any) -> None:
    """Make the models' clients before the first question comes, where questions are answered."""
    if QueueNames.CHAT in _queues():
        runtime.models.warm()


@signals.worker_shutting_down.connect
def stop_generations(**_: Any) -> None:
    """Hand on the answers being written, between two tokens."""
    runtime.writer.stopping.set()
