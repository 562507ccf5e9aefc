"""The base of all tasks, and the decorator that declares one.

A task declares how it behaves when it is delivered again: by what a second delivery is recognised, how often it is
retried, and whether two runs may overlap. Whatever becomes of a delivery is counted for /metrics by the task's name.
There are no time limits, which Celery's thread pool lacks: every wait of a body has a deadline of its own, in the
stores and at the models.
"""

import inspect
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from celery import Task
from celery.exceptions import Reject
from celery.exceptions import Retry as CeleryRetry

from celery_config import SENT_AT, TRACEPARENT, TRACEPARENTS
from core.errors import SwitchboardError, Unavailable
from core.messaging.replies import Reply
from core.observability.log_ids import log_ids
from core.observability.spans import Span
from core.observability.tracing import span
from core.operations.counters import Outcome
from workers.app import app, runtime
from workers.calls import Call, noted, read_calls
from workers.retry import NO_RETRY, Retry

logger = logging.getLogger(__name__)

MAX_UNAVAILABLE = 2
"""Commands of a group that have found a store away, each alone, after which it is taken to be."""

Result: TypeAlias = dict[str, Any] | SwitchboardError
"""What became of one command: the session as it is told, or the problem."""


class SwitchboardTask(Task):
    """A task without a reply. A store that is away ends it with one line in the log."""

    abstract = True
    throws = (SwitchboardError,)  # logged without a traceback
    max_retries = None  # `retry_policy` says how many
    retry_policy: Retry = NO_RETRY
    recognised_by: tuple[str, ...] = ("task_id",)
    """By what each delivery can be recognised, besides the body's arguments."""
    idempotent_by: str | None = None
    exclusive: bool = False

    def __init__(self) -> None:
        self._running = Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, and count how that has ended."""
        if self.request.called_directly:
            return self.run(*args, **kwargs)
        self._count_wait()
        outcomes: Sequence[Outcome] = [Outcome.FAILED] * self.weight()
        began = time.monotonic()
        try:
            with log_ids(task=self.name, task_id=self.request.id), self._span():
                result, outcomes = self.deliver(args, kwargs)
        except CeleryRetry:
            outcomes = [Outcome.RETRIED] * self.weight()
            raise
        except SwitchboardError as error:
            outcomes = [_outcome(error)] * self.weight()
            raise
        finally:
            runtime.counters.count_outcomes(self.name, outcomes)
            runtime.counters.task_durations.labels(self.name).observe(time.monotonic() - began)
        return result

    def _count_wait(self) -> None:
        sent_at = (self.request.headers or {}).get(SENT_AT)
        if isinstance(sent_at, int | float) and not self.request.eta:
            # The machines' clocks need not agree to the millisecond.
            runtime.counters.task_waits.labels(self.name).observe(max(time.time() - sent_at, 0.0))

    def weight(self) -> int:
        """As how many the delivery counts."""
        return 1

    def _span(self) -> AbstractContextManager[Span]:
        headers = self.request.headers or {}
        sender, requests = headers.get(TRACEPARENT), headers.get(TRACEPARENTS)
        attributes = {"messaging.operation.type": "process"}
        return span(f"process {self.name}", "consumer", attributes, parent=sender, links=requests)

    def deliver(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Sequence[Outcome]]:
        """Run the body; its result, and how it has ended. Raises celery's Retry, or what the body raises."""
        if self.exclusive and not self._running.acquire(blocking=False):
            logger.warning("skipped: the run before it is still under way")
            return 0, [Outcome.SKIPPED]
        try:
            return self.run(*args, **kwargs), [Outcome.SUCCEEDED]
        except Unavailable as error:
            logger.warning("a store is away: %s", error.reason)
            raise self.again(error) from error
        finally:
            if self.exclusive:
                self._running.release()

    def again(self, error: Unavailable) -> Exception:
        """What to raise for a store that is away: celery's Retry, or the error when the policy allows no more or
        the broker takes none."""
        wait = self.retry_policy.countdown(self.request.retries)
        if wait is None:
            return error
        try:
            retry: Exception = self.retry(exc=error, countdown=wait, throw=False)
        except Reject as rejected:
            logger.warning("the broker takes no retry of it: %s", type(rejected.reason).__name__)
            return error
        return retry


class Command(SwitchboardTask):
    """A task of commands about one session each, its first argument, that requests may be waiting for: it always
    replies.

    The body takes the calls of one message (workers/calls.py), and returns for each the session as it is told, or the
    problem. What it raises may concern one of them only: then each is carried out alone. The reply is what the body
    has returned, so it follows the commit; or, for what it raises unexpectedly, a problem that says nothing of it.
    Replies that can't be sent are retried, body and all, which is idempotent. A delivery whose reply was kept already
    only sends that again.
    """

    abstract = True
    typing = False  # a retry is sent with the arguments of the message, which are not the body's
    recognised_by = ("task_id", "session_id")

    def weight(self) -> int:
        """The number of commands."""
        return max(1, len(noted(self.request.headers or {})))

    def deliver(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Sequence[Outcome]]:
        """Run the body and reply. Raises what the body raises unexpectedly for a command that came alone, after its
        reply."""
        calls = self._noted(read_calls(self.request.id, self.request.headers or {}, args, kwargs))
        ended = iter(self._execute([call for call in calls if call.pending.state == "pending"]))
        ends = [next(ended) if call.pending.state == "pending" else _End(call.pending) for call in calls]
        try:
            runtime.replies.send([end.reply for end in ends], self.request.reply_to)
        except Unavailable as error:
            logger.warning("the reply could not be sent: %s", error.reason)
            raise self.again(error) from error
        _log_ends(calls, ends)
        if len(ends) == 1 and ends[0].unexpected is not None:
            raise ends[0].unexpected
        return None, [end.outcome for end in ends]

    def _noted(self, calls: Sequence[Call]) -> Sequence[Call]:
        """The calls with the replies that were kept, or the notes that those are pending."""
        try:
            kept = runtime.replies.find_all([call.pending.task_id for call in calls])
        except Unavailable:
            return calls
        return [call._replace(pending=reply or call.pending) for call, reply in zip(calls, kept, strict=True)]

    def _execute(self, calls: Sequence[Call]) -> list["_End"]:
        """Carry the commands out: together or, if that fails, each alone. A store that is away for two of them is
        taken to be away for the others too."""
        if len(calls) > 1:
            try:
                return [_sendable(_End.of(call, result)) for call, result in zip(calls, self.run(calls), strict=True)]
            except Exception as error:
                logger.warning("%d commands failed (%s); each is tried alone", len(calls), _cause(error))
        ends: list[_End] = []
        away = 0
        for call in calls:
            end = self._execute_alone(call) if away < MAX_UNAVAILABLE else _End.of(call, Unavailable(retry_after=2))
            away += end.outcome == Outcome.UNAVAILABLE
            if end.unexpected is not None and len(calls) > 1:
                _log_unexpected(call, end.unexpected)
            ends.append(end)
        return ends

    def _execute_alone(self, call: Call) -> "_End":
        try:
            with log_ids(request_id=call.request_id):
                return _sendable(_End.of(call, self._result(call)))
        except Exception as error:
            return _End(replace(call.pending, problem=SwitchboardError().problem()), Outcome.FAILED, error)

    def _result(self, call: Call) -> Result:
        try:
            (result,) = self.run([call])
        except SwitchboardError as error:
            return error
        return result  # type: ignore[no-any-return]


class _End(NamedTuple):
    """What became of a command."""

    reply: Reply
    outcome: Outcome = Outcome.SUCCEEDED
    unexpected: Exception | None = None
    """What it has raised that is no problem of the domain's."""

    @classmethod
    def of(cls, call: Call, result: Result) -> "_End":
        """The end with what the body has returned."""
        if isinstance(result, SwitchboardError):
            problem = replace(call.pending, problem=result.problem(), retry_after=result.retry_after)
            return cls(problem, _outcome(result))
        return cls(replace(call.pending, result=result))


def _sendable(end: _End) -> _End:
    """The end. Raises ValueError for one whose reply can't be sent, which is a failure like any other."""
    end.reply.dump()
    return end


def _log_unexpected(call: Call, error: Exception) -> None:
    """Log a command's failure by its class and place: the words of an error may quote people."""
    place = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    logger.error("a command failed unexpectedly: %s\n%s", type(error).__name__, place, extra=_ids(call))


def _log_ends(calls: Sequence[Call], ends: Sequence["_End"]) -> None:
    """Log what became of each command, with the id of its own request."""
    if logger.isEnabledFor(logging.INFO):
        for call, end in zip(calls, ends, strict=True):
            logger.info("command ended", extra={**_ids(call), "outcome": end.outcome})


def _ids(call: Call) -> dict[str, str | None]:
    pending = call.pending
    return {"request_id": call.request_id, "task_id": pending.task_id, "session_id": pending.session_id}


def _cause(error: Exception) -> str:
    return error.reason if isinstance(error, Unavailable) else type(error).__name__


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
        if idempotent_by not in (None, *base.recognised_by, *inspect.signature(body).parameters):
            raise TypeError(f"{name} has no argument {idempotent_by!r}")
        declared = {"retry_policy": retry, "idempotent_by": idempotent_by, "exclusive": exclusive}
        return app.task(name=name, base=base, **declared, **options)(body)

    return declare


def _outcome(error: SwitchboardError) -> Outcome:
    if isinstance(error, Unavailable):
        return Outcome.UNAVAILABLE
    return Outcome.REFUSED if error.status < 500 else Outcome.FAILED
