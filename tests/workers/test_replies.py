"""Every command is answered, whatever becomes of its message."""

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu.entity import Exchange, Queue
from redis import Redis
from uuid_utils.compat import uuid7

from celery_config import HOLDER, QueueNames, TaskNames
from core.messaging.replies import Reply
from core.operations.counters import Outcome
from core.runtime import Runtime
from core.sessions.credential import Credential
from tests.support.counted import counted, wait_until_told
from tests.support.waiting import wait_for
from tests.workers.conversation import Conversation
from tests.workers.local_process import Worker
from web.commands import Commands

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
        headers=headers,
        queue=QueueNames.SESSIONS,
        **{"reply_to": "sb:replies:none", **options},
    )


def _counted(runtime: Runtime, task: str, outcome: Outcome) -> float:
    return counted(runtime, "switchboard_tasks_total", task=task, outcome=outcome)


def test_an_unknown_task(worker: Worker, runtime: Runtime, celery_setup_app: Celery) -> None:
    """Such as one of a newer web process."""
    pending = _expect(runtime)
    wait_until_told(runtime)
    before = _counted(runtime, "unknown", Outcome.REJECTED)
    _send(celery_setup_app, pending, "sessions.something_new", [pending.session_id])
    assert _problem(runtime, pending)["type"] == "/problems/unavailable"
    # Counted after the reply, and told with a later flush.
    wait_for(lambda: _counted(runtime, "unknown", Outcome.REJECTED) == before + 1, what="it is counted")


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
            reply_to="sb:replies:none",
        )
    assert _problem(runtime, pending)["type"] == "/problems/internal"


@pytest.mark.parametrize("body", ["[5, {}, {}]", "[[], 5, {}]", "[[], {}, 5]", "[null, null, null]", "[[], {}]"])
def test_a_message_whose_arguments_are_none(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, body: str
) -> None:
    pending = _expect(runtime)
    _push(redis, _message(celery_setup_app, redis, pending) | {"body": b64encode(body.encode()).decode()})
    assert _problem(runtime, pending)["type"] == "/problems/internal"


@pytest.mark.parametrize(
    "embedded",
    [{"chain": "x"}, {"chain": [1]}, {"chain": {"a": 1}}, {"chain": "\ud800"}, {"callbacks": [{}]}, {"id": "x"}],
    ids=str,
)
def test_a_message_with_tasks_to_come_after_it(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, embedded: dict[str, Any]
) -> None:
    pending = _expect(runtime)
    message = _message(celery_setup_app, redis, pending)
    args, kwargs, _ = json.loads(b64decode(message["body"]))
    message["body"] = b64encode(json.dumps([args, kwargs, embedded]).encode()).decode()
    _push(redis, message)
    assert _problem(runtime, pending)["type"] == "/problems/internal"
    wait_for(lambda: redis.hlen("unacked") == 0, what="it is acknowledged")


NO_MESSAGES = {
    "text": b"nope",
    "binary": b"\xff\xfe",
    "null": b"null",
    "list": b"[1]",
    "deep": b"[" * 200_000,
    "no-properties": b"{}",
    "no-id": b'{"__type__": "uuid", "__value__": 5}',
}


@pytest.mark.parametrize("raw", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_what_is_no_message_is_dropped_and_counted_and_the_worker_goes_on(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, raw: bytes
) -> None:
    pending, before, log = _expect(runtime), _counted(runtime, "unknown", Outcome.REJECTED), worker.logs()
    redis.lpush(QueueNames.SESSIONS, raw)
    _send(celery_setup_app, pending, TaskNames.SWITCH_MODEL, [pending.session_id, "good", None, None])
    assert _problem(runtime, pending)["status"] == 401
    wait_for(lambda: _counted(runtime, "unknown", Outcome.REJECTED) > before, what="it is counted")
    new = worker.logs()[len(log) :]
    assert new.count("a message could not be decoded: ") == 1
    assert "Traceback" not in new
    assert "onnection to broker lost" not in new
    wait_for(lambda: redis.hlen("unacked") == redis.zcard("unacked_index") == 0, what="both are acknowledged")


DAMAGES: dict[str, dict[str, Any]] = {
    "properties": {"properties": None},
    "properties-list": {"properties": [1]},
    "headers-list": {"headers": [1]},
    "body": {"body": 5},
    "encoding": {"properties.body_encoding": "zz"},
    "tag": {"properties.delivery_tag": [1]},
    "no-tag": {"properties.delivery_tag": None},
    "route": {"properties.delivery_info": None},
    "route-list": {"properties.delivery_info": [1]},
    "route-key": {"properties.delivery_info": {"exchange": "sessions", "routing_key": {}}},
    "channel": {"properties.reply_to": {"a": 1}},
    "task": {"headers.task": ["sessions.create"]},
    "expires": {"headers.expires": 5},
    "expires-text": {"headers.expires": "tomorrow"},
    "eta": {"headers.eta": [1]},
    "eta-far": {"headers.eta": "9999-12-31T23:59:59"},
    "eta-first": {"headers.eta": "0001-01-01T00:00:00+14:00"},
    "time-limit": {"headers.timelimit": 5},
    "shadow": {"headers.shadow": ["a"]},
    "shadow-object": {"headers.shadow": {"a": 1}},
    "parent": {"headers.parent_id": [1]},
    "group": {"headers.group_index": "x"},
    "retries": {"headers.retries": "x"},
    "stamps": {"headers.stamps": 5},
    "stamped": {"headers.stamped_headers": 5},
    "callbacks": {"headers.callbacks": ["x"]},
    "own-headers": {"headers.headers": "x"},
    "method": {"headers.get": 5},
    "compression": {"headers.compression": "zz"},
    "type": {"content-type": [1]},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_message_of_the_wrong_shape_is_answered_when_its_id_can_be_read(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, damage: dict[str, Any]
) -> None:
    pending, log = _expect(runtime), worker.logs()
    ((path, value),) = damage.items()
    message = _message(celery_setup_app, redis, pending)
    *parents, name = path.split(".")
    part = message
    for parent in parents:
        part = part[parent]
    part[name] = value
    _push(redis, message)
    if path == "headers":  # and with it the id
        pending = _expect(runtime)
        _send(celery_setup_app, pending, TaskNames.CREATE_SESSION, [])
    assert _problem(runtime, pending)["type"] == "/problems/internal"
    wait_for(lambda: redis.hlen("unacked") == 0, what="it is acknowledged")
    new = worker.logs()[len(log) :]
    assert str(message["body"]) not in new or path == "body"
    assert "onnection to broker lost" not in new


@pytest.mark.parametrize("raw", [b"null", b"[1]", b"[" * 200_000, b"nope", b'{"__type__": "uuid", "__value__": 5}'])
def test_a_broadcast_of_the_wrong_shape_ends_no_worker(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, raw: bytes
) -> None:
    wait_for(lambda: redis.publish("/0.celery.pidbox", raw), what="a worker listens to broadcasts")
    pending = _expect(runtime)
    _send(celery_setup_app, pending, TaskNames.SWITCH_MODEL, [pending.session_id, "good", None, None])
    assert _problem(runtime, pending)["status"] == 401
    with celery_setup_app.connection_for_write() as fresh:  # a pooled one may be from before a restart of the broker
        (pong,) = celery_setup_app.control.ping(timeout=10, limit=1, connection=fresh)
    assert pong


def _message(app: Celery, redis: Redis, pending: Reply) -> dict[str, Any]:
    """The command's message, as it lies in its queue."""
    scratch = "test-scratch"
    with app.connection_for_write() as connection:
        app.send_task(
            TaskNames.CREATE_SESSION,
            [pending.session_id, "00", None, None],
            task_id=pending.task_id,
            headers={HOLDER: HOLDER_NAME},
            reply_to="sb:replies:none",
            queue=Queue(scratch, Exchange(scratch), routing_key=scratch),
            connection=connection,
        )
    message: dict[str, Any] = json.loads(str(redis.rpop(scratch)))
    message["properties"]["delivery_info"] = {"exchange": QueueNames.SESSIONS, "routing_key": QueueNames.SESSIONS}
    return message


def _push(redis: Redis, message: dict[str, Any]) -> None:
    redis.lpush(QueueNames.SESSIONS, json.dumps(message))


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
    wait_for(lambda: _counted(runtime, TaskNames.CREATE_SESSION, Outcome.EXPIRED) > before, what="it is counted")


def test_a_command_that_an_operator_has_revoked(worker: Worker, runtime: Runtime, celery_setup_app: Celery) -> None:
    pending = _expect(runtime)
    celery_setup_app.control.revoke(pending.task_id)
    wait_for(lambda: f"Tasks flagged as revoked: {pending.task_id}" in worker.logs(), what="the worker knows")
    _send(celery_setup_app, pending, TaskNames.CREATE_SESSION, [pending.session_id, "00", None, None])
    assert _problem(runtime, pending)["type"] == "/problems/unavailable"


@pytest.mark.parametrize("expired", [True, False], ids=["expired", "revoked"])
def test_a_command_that_never_runs_is_answered_also_when_no_request_waits(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, expired: bool
) -> None:
    pending = _expect(runtime)
    message = _message(celery_setup_app, redis, pending)
    del message["properties"]["reply_to"]
    if expired:
        message["headers"]["expires"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    else:
        celery_setup_app.control.revoke(pending.task_id)
        wait_for(lambda: f"Tasks flagged as revoked: {pending.task_id}" in worker.logs(), what="the worker knows")
    _push(redis, message)
    assert _problem(runtime, pending)["status"] == 503


NOTES = {
    "other-version": json.dumps({"version": 2}),
    "binary": b"\xff\xfe",
    "deep": "[" * 200_000,
    "list": "[1]",
    "null": "null",
    "field-types": json.dumps({"task_id": 1, "session_id": [], "holder": {}, "result": 5}),
    "problem": json.dumps({"task_id": "1", "session_id": "2", "holder": "3", "problem": {}}),
}


@pytest.mark.parametrize("note", NOTES.values(), ids=NOTES)
def test_a_note_that_can_not_be_read_keeps_no_command_from_its_reply(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, note: str | bytes
) -> None:
    """Such as one of another version."""
    pending = Reply(str(uuid7()), str(uuid4()), HOLDER_NAME)
    redis.set(f"sb:task:{pending.task_id}", note)
    assert runtime.replies.find(pending.task_id) is None
    _send(celery_setup_app, pending, TaskNames.SWITCH_MODEL, [pending.session_id, "good", None, None])
    assert _problem(runtime, pending)["status"] == 401


@pytest.mark.parametrize("version", [2**70, 2**31, -1, True, 1.0, "1", [1], {}], ids=str)
def test_a_version_that_no_session_can_have(
    worker: Worker, runtime: Runtime, celery_setup_app: Celery, conversation: Conversation, version: object
) -> None:
    pending = _expect(runtime)
    args = [str(conversation.session.id), "good", None, version]
    _send(celery_setup_app, pending, TaskNames.SWITCH_MODEL, args)
    problem = _problem(runtime, pending)
    assert (problem["status"], problem["type"]) == (422, "/problems/invalid-body")
    assert "version" in problem["detail"]


@pytest.mark.parametrize("reply", ["nope", b"\xff", "[" * 200_000, "null", '{"problem": {}}'])
def test_a_reply_that_can_not_be_read_disturbs_no_request_that_waits_for_another(
    worker: Worker, commands: Commands, redis: Redis, caplog: pytest.LogCaptureFixture, reply: str | bytes
) -> None:
    hub = commands._hub
    with hub.expect("any"):
        assert redis.publish(hub.reply_channel, reply) == 1
    assert commands.create_session(Credential.issue(), None, "good", wait=30).state == "done"
    assert "the hub failed" not in caplog.text
