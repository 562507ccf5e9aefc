"""Every command is answered, whatever becomes of its message."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from redis import Redis
from uuid_utils.compat import uuid7

from celery_config import HOLDER, QueueNames, TaskNames
from core.messaging.replies import Reply
from core.operations.counters import Outcome
from core.runtime import Runtime
from tests.support.waiting import wait_for
from tests.workers.local_process import Worker

HOLDER_NAME = "secret 00"


def _expect(runtime: Runtime) -> Reply:
    """What the web process notes before it sends a command."""
    pending = Reply(str(uuid7()), str(uuid4()), HOLDER_NAME)
    runtime.replies.expect(pending)
    return pending


def _problem(runtime: Runtime, pending: Reply) -> dict[str, Any]:
    """The problem that the command is answered with."""

    def find() -> Reply | None:
        reply = runtime.replies.find(pending.task_id)
        return reply if reply and reply.state != "pending" else None

    reply = wait_for(find, seconds=30, what="it is answered")
    assert (reply.session_id, reply.holder) == (pending.session_id, HOLDER_NAME)
    assert reply.problem is not None
    return reply.problem


def _send(app: Celery, pending: Reply, name: str, args: list[Any], **options: Any) -> None:
    headers = {HOLDER: HOLDER_NAME}
    app.send_task(
        name,
        args,
        task_id=pending.task_id,
        reply_to="sb:replies:nobody",
        headers=headers,
        queue=QueueNames.SESSIONS,
        **options,
    )


def _counted(runtime: Runtime, task: str, outcome: Outcome) -> int:
    return runtime.counters.outcomes().get((task, outcome), 0)


def test_an_unknown_task(worker: Worker, runtime: Runtime, celery_setup_app: Celery) -> None:
    """Such as one of a newer web process."""
    pending = _expect(runtime)
    before = _counted(runtime, "unknown", Outcome.REJECTED)
    _send(celery_setup_app, pending, "sessions.something_new", [pending.session_id])
    assert _problem(runtime, pending)["type"] == "/problems/unavailable"
    assert _counted(runtime, "unknown", Outcome.REJECTED) == before + 1


@pytest.mark.parametrize(
    "args",
    [[], ["not an id", None, None, None], [None, 1, 2, 3], ["a", "b", "c", "d", "e", "f"], [{"a": 1}, [], [], []]],
    ids=["none", "no-id", "no-text", "too-many", "no-scalars"],
)
def test_arguments_that_can_not_be_understood(
    worker: Worker, runtime: Runtime, celery_setup_app: Celery, args: list[Any]
) -> None:
    pending = _expect(runtime)
    _send(celery_setup_app, pending, TaskNames.CREATE_SESSION, args)
    problem = _problem(runtime, pending)
    assert (problem["status"], problem["type"]) == (500, "/problems/internal")
    assert set(problem) == {"type", "title", "status", "detail"}


@pytest.mark.parametrize("body", ["{broken", "[1, 2]", '"text"', "null"])
def test_a_message_that_can_not_be_decoded(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, body: str
) -> None:
    pending = _expect(runtime)
    with celery_setup_app.connection_for_write() as connection:
        producer = connection.Producer()
        producer.publish(
            body,
            content_type="application/json",
            content_encoding="utf-8",
            exchange=QueueNames.SESSIONS,
            routing_key=QueueNames.SESSIONS,
            headers={"id": pending.task_id, "task": TaskNames.CREATE_SESSION, "lang": "py", HOLDER: HOLDER_NAME},
            reply_to="sb:replies:nobody",
        )
    assert _problem(runtime, pending)["type"] == "/problems/internal"


def test_a_command_that_no_worker_took_in_time(worker: Worker, runtime: Runtime, celery_setup_app: Celery) -> None:
    pending = _expect(runtime)
    before = _counted(runtime, TaskNames.CREATE_SESSION, Outcome.EXPIRED)
    _send(
        celery_setup_app,
        pending,
        TaskNames.CREATE_SESSION,
        [pending.session_id, "00", None, None],
        expires=datetime.now(UTC) - timedelta(seconds=1),
    )
    assert _problem(runtime, pending)["type"] == "/problems/queue-slow"
    assert _counted(runtime, TaskNames.CREATE_SESSION, Outcome.EXPIRED) == before + 1


def test_a_command_that_an_operator_has_revoked(worker: Worker, runtime: Runtime, celery_setup_app: Celery) -> None:
    pending = _expect(runtime)
    celery_setup_app.control.revoke(pending.task_id)
    wait_for(lambda: f"Tasks flagged as revoked: {pending.task_id}" in worker.logs(), what="the worker knows")
    _send(celery_setup_app, pending, TaskNames.CREATE_SESSION, [pending.session_id, "00", None, None])
    assert _problem(runtime, pending)["type"] == "/problems/unavailable"


def test_a_note_that_can_not_be_read_keeps_no_command_from_its_reply(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery
) -> None:
    """Such as one of another version."""
    pending = Reply(str(uuid7()), str(uuid4()), HOLDER_NAME)
    redis.set(f"sb:task:{pending.task_id}", json.dumps({"version": 2}))
    _send(celery_setup_app, pending, TaskNames.SWITCH_MODEL, [pending.session_id, "good", None, None])
    assert _problem(runtime, pending)["status"] == 401
