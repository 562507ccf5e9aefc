"""The base of all tasks, and the decorator that declares one.

A task declares how it behaves when it is delivered again: by what a second delivery is recognised, how often it is
retried, and whether two runs may overlap. Whatever becomes of a delivery is counted for /metrics by the task's name.
There are no time limits, which Celery's thread pool lacks: every wait of a body has a deadline of its own, in the
stores and at the models.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

from celery import Task
from celery.exceptions import Retry as CeleryRetry
from celery.utils.log import get_task_logger

from celery_config import HOLDER
from core.errors import SwitchboardError, Unavailable
from core.messaging.replies import Reply
from core.operations.counters import Outcome
from workers.app import app, runtime
from workers.retry import NO_RETRY, Retry

logger = get_task_logger(__name__)


class SwitchboardTask(Task):
    """A task without a reply. A store that is away ends it with one line in the log."""

    abstract = True
    throws = (SwitchboardError,)  # logged without a traceback
    max_retries = None  # `retry_policy` says how many
    retry_policy: Retry = NO_RETRY
    idempotent_by: str | None = None
    exclusive: bool = False

    def __init__(self) -> None:
        self._running = Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, and count how that has ended."""
        if self.request.called_directly:
            return self.run(*args, **kwargs)
        outcome = Outcome.FAILED
        try:
            result, outcome = self.deliver(args, kwargs)
        except CeleryRetry:
            outcome = Outcome.RETRIED
            raise
        except SwitchboardError as error:
            outcome = _outcome(error)
            raise
        finally:
            runtime.counters.count_outcome(self.name, outcome)
        return result

    def deliver(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Outcome]:
        """Run the body; its result, and how it has ended. Raises celery's Retry, or what the body raises."""
        if self.exclusive and not self._running.acquire(blocking=False):
            logger.warning("skipped: the run before it is still under way")
            return 0, Outcome.SKIPPED
        try:
            return self.run(*args, **kwargs), Outcome.SUCCEEDED
        except Unavailable as error:
            logger.warning("a store is away: %s", type(error.cause).__name__)
            raise self.again(error) from error
        finally:
            if self.exclusive:
                self._running.release()

    def again(self, error: Unavailable) -> Exception:
        """What to raise for a store that is away: celery's Retry, or the error when the policy allows no more."""
        wait = self.retry_policy.countdown(self.request.retries)
        if wait is None:
            return error
        retry: Exception = self.retry(exc=error, countdown=wait, throw=False)
        return retry


class Command(SwitchboardTask):
    """A task about one session, its first argument, that a request may be waiting for: it always replies.

    The reply is what the body has returned, so it follows the commit; or the problem that it has raised; or, for what
    it raises unexpectedly, a problem that says nothing of it. A reply that can't be sent is retried, body and all,
    which is idempotent. A delivery whose reply was kept already only sends that again.
    """

    abstract = True

    def deliver(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Outcome]:
        """Run the body and reply. Raises what the body raises unexpectedly, after its reply."""
        reply, outcome, unexpected = self._note(args), Outcome.SUCCEEDED, None
        if reply.state == "pending":
            reply, outcome, unexpected = self._execute(reply, args, kwargs)
        try:
            runtime.replies.send(reply, self.request.reply_to)
        except Unavailable as error:
            logger.warning("the reply could not be sent: %s", type(error.cause).__name__)
            raise self.again(error) from error
        if unexpected is not None:
            raise unexpected
        return None, outcome

    def _note(self, args: Sequence[Any]) -> Reply:
        """The reply that was kept, or else the note that it is pending."""
        holder = str((self.request.headers or {}).get(HOLDER, ""))
        pending = Reply(self.request.id, str(args[0]) if args else "", holder)
        try:
            return runtime.replies.find(self.request.id) or pending
        except Unavailable:
            return pending

    def _execute(
        self, pending: Reply, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Reply, Outcome, Exception | None]:
        """The body's reply, and what it has raised that is no problem of the domain's."""
        try:
            result: dict[str, Any] = self.run(*args, **kwargs)
            json.dumps(result)  # one that can't be sent is a failure like any other
            return replace(pending, result=result), Outcome.SUCCEEDED, None
        except SwitchboardError as error:
            return replace(pending, problem=error.problem()), _outcome(error), None
        except Exception as error:
            return replace(pending, problem=SwitchboardError().problem()), Outcome.FAILED, error


def task(
    name: str,
    *,
    idempotent_by: str | None,
    base: type[SwitchboardTask] = SwitchboardTask,
    retry: Retry = NO_RETRY,
    exclusive: bool = False,
    **options: Any,
) -> Callable[[Callable[..., Any]], Any]:
    """Declare a task.

    `idempotent_by` is the argument by which a second delivery is recognised, or `task_id`; None for a body that finds
    nothing left to do the second time. `retry` is for when a store is away. With `exclusive`, a run is skipped, with
    the result 0, while this process is still at the one before.

    Raises TypeError for an argument that the body does not have.
    """

    def declare(body: Callable[..., Any]) -> Any:
        if idempotent_by not in (None, "task_id", *inspect.signature(body).parameters):
            raise TypeError(f"{name} has no argument {idempotent_by!r}")
        declared = {"retry_policy": retry, "idempotent_by": idempotent_by, "exclusive": exclusive}
        return app.task(name=name, base=base, **declared, **options)(body)

    return declare


def _outcome(error: SwitchboardError) -> Outcome:
    if isinstance(error, Unavailable):
        return Outcome.UNAVAILABLE
    return Outcome.REFUSED if error.status < 500 else Outcome.FAILED
