"""Commands that travel in one message: each has its own reply, whatever becomes of the others."""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery
from kombu.entity import Exchange, Queue
from sqlalchemy import func, select, text
from uuid_utils.compat import uuid7

from celery_config import COMMANDS, REQUEST_IDS, QueueNames, TaskNames
from core.errors import Unavailable
from core.messaging.replies import Replies, Reply
from core.operations.counters import Outcome
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.database import Database
from core.stores.redis import Redis
from core.stores.tables import Session
from tests.conftest import new_user
from tests.support.counted import counted, wait_until_told
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.workers.conversation import Conversation, locked
from tests.workers.local_process import Worker
from web.commands import COMMAND_EXPIRY, Commands, groups, new_sender
from web.commands.groups import Command
from web.streaming.hub import Hub, Waiter
from workers.calls import read_calls

WAIT = 10.0
SLACK = 0.3
"""Seconds for a test's busy machine."""
CREATE = TaskNames.CREATE_SESSION


def _command(session_id: UUID | str, *args: object) -> Command:
    return Command(Reply(str(uuid7()), str(session_id), "secret 00"), [str(session_id), *args], Waiter())


def _creation(session_id: UUID | None = None, secret_hash: str = "00" * 32, model: str | None = None) -> Command:
    return _command(session_id or uuid7(), secret_hash, None, model)


def _send(commands: Commands, group: Sequence[Command], name: str = CREATE, expiry: float = COMMAND_EXPIRY) -> None:
    commands._publish(name, expiry, group)


def _message(app: Celery, redis: Redis, group: Sequence[Command]) -> dict[str, Any]:
    """The message of the group, as it lies in its queue."""
    scratch = "test-scratch"
    pending = [command.pending for command in group]
    with app.connection_for_write() as connection:
        app.send_task(
            CREATE,
            [command.args for command in group] if len(group) > 1 else list(group[0].args),
            task_id=pending[0].task_id,
            headers={COMMANDS: [[each.task_id, each.session_id, each.holder] for each in pending]},
            reply_to="sb:replies:none",
            queue=Queue(scratch, Exchange(scratch), routing_key=scratch),
            connection=connection,
        )
    message: dict[str, Any] = json.loads(str(redis.rpop(scratch)))
    message["properties"]["delivery_info"] = {"exchange": QueueNames.SESSIONS, "routing_key": QueueNames.SESSIONS}
    return message


def _replies(runtime: Runtime, group: Sequence[Command]) -> list[Reply]:
    """The replies, once all are there."""

    def find() -> list[Reply]:
        found = runtime.replies.find_all([command.pending.task_id for command in group])
        replies = [reply for reply in found if reply is not None and reply.state != "pending"]
        return replies if len(replies) == len(group) else []

    replies = wait_for(find, seconds=30, what="all are answered")
    for reply, command in zip(replies, group, strict=True):
        assert (reply.session_id, reply.holder) == (command.pending.session_id, command.pending.holder)
    return replies


def _statuses(replies: Sequence[Reply]) -> list[int]:
    return [reply.problem["status"] if reply.problem else 200 for reply in replies]


def _rows(runtime: Runtime, group: Sequence[Command]) -> int:
    ids = {UUID(command.pending.session_id) for command in group}
    with runtime.database.reading() as db:
        return db.scalar(select(func.count()).where(Session.id.in_(ids))) or 0


@contextmanager
def _poisoned(database: Database, session_id: UUID) -> Iterator[None]:
    """A database that fails over the row with this id."""
    if database.engine.dialect.name == "sqlite":
        make = [
            f"CREATE TRIGGER poison BEFORE INSERT ON session WHEN NEW.id = '{session_id.hex}' "
            "BEGIN SELECT RAISE(ABORT, 'my aunt is a carpenter'); END"
        ]
        remove = ["DROP TRIGGER poison"]
    else:
        make = [
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'my aunt is a carpenter'; END $$",
            f"CREATE TRIGGER poison BEFORE INSERT ON session FOR EACH ROW WHEN (NEW.id = '{session_id}') "
            "EXECUTE FUNCTION poison()",
        ]
        remove = ["DROP TRIGGER poison ON session", "DROP FUNCTION poison"]
    with database.writing() as db:
        for statement in make:
            db.execute(text(statement))
    yield
    with database.writing() as db:
        for statement in remove:
            db.execute(text(statement))


def test_a_bad_command_fails_alone(worker: Worker, commands: Commands, runtime: Runtime) -> None:
    taken = _creation()
    _send(commands, [taken])
    _replies(runtime, [taken])
    group = [
        _creation(),
        _creation(model="gpt-nothing"),
        _command(uuid7(), None, str(uuid4()), None),
        _creation(UUID(taken.pending.session_id), "11" * 32),
        _creation(model="good"),
    ]
    _send(commands, group)
    assert _statuses(_replies(runtime, group)) == [200, 422, 401, 401, 200]
    assert "each is tried alone" not in worker.logs()


def test_arguments_that_can_not_be_understood_fail_alone(
    worker: Worker, commands: Commands, runtime: Runtime
) -> None:
    group = [
        _creation(),
        _creation(secret_hash="no hex"),
        _creation(secret_hash="00"),
        _command(uuid7(), 1, 2, 3),
        _command("no id", None, None, None),
        _command(uuid7()),
        _creation(model="goo\0d"),
        _creation(),
    ]
    wait_until_told(runtime)
    before = {kind: _counted(runtime, kind) for kind in Outcome}
    _send(commands, group)
    assert _statuses(_replies(runtime, group)) == [200, 500, 500, 500, 500, 500, 422, 200]

    def all_counted() -> bool:
        gained = [_counted(runtime, kind) - before[kind] for kind in Outcome]
        return gained == [{"succeeded": 2, "failed": 5, "refused": 1}.get(kind, 0) for kind in Outcome]

    try:
        wait_for(all_counted, what="each is counted")
    except AssertionError:
        raise AssertionError({kind: _counted(runtime, kind) - before[kind] for kind in Outcome}) from None


def _counted(runtime: Runtime, outcome: Outcome) -> float:
    return counted(runtime, "switchboard_tasks_total", task=CREATE, outcome=outcome)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_row_that_the_database_fails_over_fails_alone(
    worker: Worker, commands: Commands, runtime: Runtime, place: int
) -> None:
    group = [_creation() for _ in range(5)]
    poison = group[place].pending
    with _poisoned(runtime.database, UUID(poison.session_id)):
        _send(commands, group)
        assert _statuses(_replies(runtime, group)) == [500 if number == place else 200 for number in range(5)]
    assert _rows(runtime, [group[place]]) == 0
    assert _rows(runtime, group) == 4
    log = worker.logs()
    assert f"task_id={poison.task_id} session_id={poison.session_id}" in log
    assert "carpenter" not in log


def test_the_same_id_many_times_is_one_session(worker: Worker, commands: Commands, runtime: Runtime) -> None:
    session_id = uuid7()
    group = [_creation(session_id) for _ in range(10)]
    _send(commands, group)
    replies = _replies(runtime, group)
    assert all(reply.result == replies[0].result is not None for reply in replies)


def test_groups_of_two_web_processes_at_once(
    worker: Worker, commands: Commands, runtime: Runtime, celery_setup_app: Celery
) -> None:
    owners = [str(new_user(runtime.database)) for _ in range(10)]
    ids = [uuid7() for _ in owners]
    log = worker.logs()
    groups = [
        [_command(session_id, None, owner, None) for session_id, owner in zip(ids, owners, strict=True)][
            :: -1 if odd else 1
        ]
        for _ in range(4)
        for odd in (False, True)
    ]
    with closing(Hub(runtime.redis)) as hub, ThreadPoolExecutor(8) as senders:
        others = Commands(celery_setup_app, hub, runtime.replies)
        for sent in [senders.submit(_send, others if at % 2 else commands, group) for at, group in enumerate(groups)]:
            sent.result()
        for group in groups:
            assert {reply.state for reply in _replies(runtime, group)} == {"done"}
    assert _rows(runtime, groups[0]) == len(ids)
    assert "each is tried alone" not in worker.logs()[len(log) :]


def test_each_command_of_a_group_is_logged_with_the_id_of_its_own_request(
    worker: Worker, commands: Commands, runtime: Runtime
) -> None:
    group = [replace(_creation(), request_id=f"request-{at}") for at in range(3)]
    group.append(replace(_creation(model="no-such-model"), request_id="request-3"))
    _send(commands, group)
    replies = _replies(runtime, group)

    def line(command: Command, reply: Reply) -> str:
        pending, outcome = command.pending, "succeeded" if reply.state == "done" else "refused"
        ids = f"task_id={pending.task_id} session_id={pending.session_id} outcome={outcome}"
        return f"request_id={command.request_id} task={CREATE} {ids}"

    lines = [line(command, reply) for command, reply in zip(group, replies, strict=True)]
    wait_for(lambda: all(each in worker.logs() for each in lines), what="each is logged")


HOSTILE_IDS: list[object] = [None, "x", [[]], [{}], [5], ["\n"], ["x" * 10_000], ["a", "b", "c"], {"a": 1}]


@pytest.mark.parametrize("request_ids", HOSTILE_IDS, ids=lambda ids: str(ids)[:20])
@pytest.mark.parametrize("count", [1, 2])
def test_request_ids_that_can_not_be_read_change_nothing(request_ids: Any, count: int) -> None:
    pending = [[str(uuid7()), str(uuid7()), "holder"] for _ in range(count)]
    args = [["x"]] * count if count > 1 else ["x"]
    calls = read_calls("id", {COMMANDS: pending, REQUEST_IDS: request_ids}, args, {})
    assert [call.pending.task_id for call in calls] == [task_id for task_id, *_ in pending]
    assert [call.args for call in calls] == [["x"]] * count
    assert all(call.request_id in (None, "a", "b", "x") for call in calls)


def test_a_worker_that_dies_over_a_group_has_not_lost_it(
    worker: Worker, commands: Commands, runtime: Runtime, redis: Redis
) -> None:
    group = [_creation() for _ in range(5)]
    with locked(runtime.database):
        _send(commands, group)
        wait_for(lambda: f"[{group[0].pending.task_id}] received" in worker.logs(), what="the worker takes it")
        worker.kill()
    for tag, _ in redis.zscan_iter("unacked_index"):
        redis.zadd("unacked_index", {str(tag): 0})  # as if the visibility timeout had passed
    worker.ensure_running()
    assert {reply.state for reply in _replies(runtime, group)} == {"done"}
    assert _rows(runtime, group) == 5


def test_a_group_that_is_delivered_again_is_answered_as_before(
    worker: Worker, commands: Commands, runtime: Runtime, conversation: Conversation
) -> None:
    session_id = conversation.session.id
    group = [
        _command(session_id, model, None, version) for model, version in [("paused", 1), ("cut", 1), ("cut", None)]
    ]
    _send(commands, group, TaskNames.SWITCH_MODEL)
    first = _replies(runtime, group)
    assert _statuses(first) == [200, 412, 200]
    runtime.redis.delete(f"sb:task:{group[2].pending.task_id}")  # as if the worker had died over the last one
    _send(commands, group, TaskNames.SWITCH_MODEL)
    assert _replies(runtime, group) == first
    with runtime.database.reading() as db:
        assert db.get_one(Session, session_id).version == 3


@pytest.mark.parametrize("expired", [True, False])
def test_a_group_that_never_runs_is_answered(
    worker: Worker, commands: Commands, runtime: Runtime, celery_setup_app: Celery, expired: bool
) -> None:
    group = [_creation() for _ in range(3)]
    if not expired:
        task_id = group[0].pending.task_id
        celery_setup_app.control.revoke(task_id)
        wait_for(lambda: f"Tasks flagged as revoked: {task_id}" in worker.logs(), what="the worker knows")
    _send(commands, group, expiry=-1.0 if expired else COMMAND_EXPIRY)
    assert _statuses(_replies(runtime, group)) == [503] * 3
    assert _rows(runtime, group) == 0


def test_a_group_of_a_task_that_no_worker_knows_is_answered(
    worker: Worker, commands: Commands, runtime: Runtime
) -> None:
    group = [_creation() for _ in range(3)]
    _send(commands, group, "sessions.something_new")
    assert _statuses(_replies(runtime, group)) == [503] * 3


@pytest.mark.parametrize(
    "damage",
    [
        {"properties.reply_to": [1]},
        {"properties.reply_to": "\ud800"},
        {"properties.body_encoding": "zz"},
        {"properties.delivery_tag": None},
        {"headers.eta": "9999-12-31T23:59:59"},
        {"headers.shadow": [1]},
        {"headers.compression": "zz"},
        {"body": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [1, 3])
def test_a_group_whose_message_has_the_wrong_shape_is_answered(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, size: int, damage: dict[str, Any]
) -> None:
    group = [_creation() for _ in range(size)]
    message = _message(celery_setup_app, redis, group)
    ((path, value),) = damage.items()
    part, _, name = path.rpartition(".")
    (message[part] if part else message)[name] = value
    redis.lpush(QueueNames.SESSIONS, json.dumps(message))
    assert _statuses(_replies(runtime, group)) == [500] * size
    assert _rows(runtime, group) == 0


@pytest.mark.parametrize("field", ["task_id", "session_id", "holder"])
def test_half_a_character_keeps_back_no_other_reply(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, field: str
) -> None:
    group = [_creation(), _creation(), _creation(secret_hash="\ud800"), _creation(model="\ud800"), _creation()]
    message = _message(celery_setup_app, redis, group)
    message["headers"][COMMANDS][1][["task_id", "session_id", "holder"].index(field)] = "\ud800"
    redis.delete("sb:task:?")
    redis.lpush(QueueNames.SESSIONS, json.dumps(message))
    others = [group[0], *group[2:]]
    replies = _replies(runtime, others)
    assert [reply.state for reply in replies] == ["done", "failed", "failed", "done"]
    task_id = "?" if field == "task_id" else group[1].pending.task_id
    reply = runtime.replies.find(task_id)
    assert reply is not None
    assert reply.state == "done"


@pytest.mark.parametrize("argument", [0, 1, 2, 3])
def test_half_a_character_in_a_command_that_came_alone(
    worker: Worker, runtime: Runtime, redis: Redis, celery_setup_app: Celery, argument: int
) -> None:
    command = _creation()
    args = [*command.args]
    args[argument] = "\ud800"
    message = _message(celery_setup_app, redis, [Command(command.pending, args, Waiter())])
    del message["headers"][COMMANDS]  # as older web processes sent it
    redis.lpush(QueueNames.SESSIONS, json.dumps(message))
    wait_for(lambda: runtime.replies.find(command.pending.task_id), what="it is answered")


@pytest.mark.parametrize("named", [None, 5, [], {"a": 1}, [[1]], ["a", "b"], [["id", "id", "holder"]] * 3])
def test_commands_that_can_not_be_read_end_no_worker(
    worker: Worker, commands: Commands, celery_setup_app: Celery, named: Any
) -> None:
    celery_setup_app.send_task(CREATE, [[str(uuid7())]], headers={COMMANDS: named})
    assert commands.create_session(Credential.issue(), None, None, WAIT).state == "done"


class TestGathering:
    @pytest.fixture(autouse=True)
    def _empty_queue(self, redis: Redis, request: pytest.FixtureRequest) -> None:
        """What tests before have left there is not counted."""
        if "no_worker" in request.fixturenames:
            request.getfixturevalue("no_worker")
            redis.delete(QueueNames.SESSIONS)

    def test_what_comes_while_a_command_is_under_way_goes_out_together(
        self,
        no_worker: Worker,
        commands: Commands,
        redis: Redis,
        runtime: Runtime,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(groups, "MAX_HOLD", WAIT)
        with ThreadPoolExecutor(9) as callers:
            calls = [callers.submit(commands.create_session, Credential.issue(), None, None, 3 * WAIT)]
            wait_for(lambda: redis.llen(QueueNames.SESSIONS) == 1, what="the first goes out at once")
            calls += [
                callers.submit(commands.create_session, Credential.issue(), None, None, 3 * WAIT) for _ in range(8)
            ]
            (lane,) = commands._lanes.values()
            wait_for(lambda: lane._gathering and len(lane._gathering.commands) == 8, what="the others gather")
            assert redis.llen(QueueNames.SESSIONS) == 1
            log = no_worker.logs()
            no_worker.ensure_running()
            assert [call.result().state for call in calls] == ["done"] * 9
        assert len(re.findall(rf"Task {CREATE}\[\S+ received", no_worker.logs()[len(log) :])) == 2

    def test_a_slow_group_holds_up_no_other(self, no_worker: Worker, commands: Commands, redis: Redis) -> None:
        with ThreadPoolExecutor(2) as callers:
            calls = []
            for waiting in (1, 2):
                calls.append(callers.submit(commands.create_session, Credential.issue(), None, None, 3 * WAIT))
                wait_for(lambda n=waiting: redis.llen(QueueNames.SESSIONS) == n, seconds=2, what="it goes out")  # type: ignore[misc]
            no_worker.ensure_running()
            assert [call.result().state for call in calls] == ["done"] * 2

    def test_no_more_than_so_many_go_out_together(
        self, no_worker: Worker, commands: Commands, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(groups, "MAX_HOLD", WAIT)
        monkeypatch.setattr(groups, "MAX_GROUP", 4)
        with ThreadPoolExecutor(9) as callers:
            calls = [
                callers.submit(commands.create_session, Credential.issue(), None, None, 3 * WAIT) for _ in range(9)
            ]
            wait_for(lambda: redis.llen(QueueNames.SESSIONS) == 3, what="one, four and four go out")
            no_worker.ensure_running()
            assert [call.result().state for call in calls] == ["done"] * 9

    def test_more_than_a_message_can_hold_go_out_with_the_next(
        self,
        no_worker: Worker,
        commands: Commands,
        runtime: Runtime,
        redis: Redis,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(groups, "MAX_HOLD", 60.0)
        left = groups.MAX_GROUP // 2
        callers = 1 + groups.MAX_GROUP + left
        with ThreadPoolExecutor(callers) as threads:
            calls = [
                threads.submit(commands.create_session, Credential.issue(), None, None, 60.0) for _ in range(callers)
            ]
            wait_for(lambda: redis.llen(QueueNames.SESSIONS) == 2, what="one and a full message go out")
            (lane,) = commands._lanes.values()
            wait_for(lambda: lane._gathering and len(lane._gathering.commands) == left, what="the others gather")
            no_worker.ensure_running()
            replies = [call.result() for call in calls]
        assert {reply.state for reply in replies} == {"done"}
        assert _rows(runtime, [Command(reply, [], Waiter()) for reply in replies]) == callers

    def test_a_caller_whose_announcement_is_lost_finds_the_reply(
        self, worker: Worker, commands: Commands, runtime: Runtime, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def kept() -> int:
            return sum('"result":{' in str(redis.get(str(key))) for key in redis.scan_iter("sb:task:*"))

        before = kept()
        monkeypatch.setattr(commands._hub, "reply_channel", "sb:replies:nobody")
        waited = "the replies are kept, and the callers' time has run out"
        monkeypatch.setattr(Waiter, "wait", lambda *_: wait_for(lambda: kept() == before + 5, what=waited) and None)
        with ThreadPoolExecutor(5) as callers:
            calls = [callers.submit(commands.create_session, Credential.issue(), None, None, WAIT) for _ in range(5)]
            replies = [call.result() for call in calls]
        assert {reply.state for reply in replies} == {"done"}
        assert len({reply.session_id for reply in replies}) == 5

    def test_a_caller_that_has_gone_holds_up_no_other(
        self, no_worker: Worker, commands: Commands, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(groups, "MAX_HOLD", 60.0)
        for waiting in (1, 2):
            assert commands.create_session(Credential.issue(), None, None, 0.05).state == "pending"
            assert redis.llen(QueueNames.SESSIONS) == waiting

    def test_one_that_is_not_waited_for_can_be_asked_for_at_once(
        self, no_worker: Worker, commands: Commands, runtime: Runtime
    ) -> None:
        pending = commands.create_session(Credential.issue(), None, None, wait=0)
        assert runtime.replies.find(pending.task_id) == pending

    def test_who_has_given_up_finds_the_reply_that_came_meanwhile(
        self, worker: Worker, commands: Commands, runtime: Runtime
    ) -> None:
        with locked(runtime.database):
            pending = commands.create_session(Credential.issue(), None, None, wait=0.1)
            assert pending.state == "pending"
            assert runtime.replies.find(pending.task_id) == pending
        assert _replies(runtime, [Command(pending, [], Waiter())])[0].state == "done"

    def test_a_switch_follows_the_creation_that_was_answered(
        self, worker: Worker, commands: Commands, runtime: Runtime
    ) -> None:
        def create_and_switch(_: int) -> int:
            credential = Credential.issue()
            commands.create_session(credential, None, "good", WAIT)
            reply = commands.switch_model(credential.session_id, "paused", None, 1, WAIT)
            return _statuses([reply])[0]

        with ThreadPoolExecutor(16) as callers:
            assert list(callers.map(create_and_switch, range(48))) == [200] * 48

    def test_many_callers_have_a_row_each(self, worker: Worker, commands: Commands, runtime: Runtime) -> None:
        with ThreadPoolExecutor(32) as callers:
            calls = [
                callers.submit(commands.create_session, Credential.issue(), None, None, WAIT) for _ in range(200)
            ]
            replies = [call.result() for call in calls]
        assert {reply.state for reply in replies} == {"done"}
        with runtime.database.reading() as db:
            rows = set(db.scalars(select(Session.id)))
        assert {UUID(reply.session_id) for reply in replies} <= rows


@pytest.mark.one_database  # it needs none
@pytest.mark.timing
def test_without_the_broker_all_callers_of_a_group_are_refused_at_once(
    settings: Settings, own_valkey: Valkey, valkey: Valkey
) -> None:
    broker = own_valkey.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    with closing(Hub(valkey.client())) as hub, ThreadPoolExecutor(16) as callers:
        sender = Commands(new_sender(broker), hub, Replies(valkey.client()))
        sender.create_session(Credential.issue(), None, None, wait=0)

        def refused(_: int) -> bool:
            with pytest.raises(Unavailable):
                sender.create_session(Credential.issue(), None, None, WAIT)
            return True

        own_valkey.freeze()
        began = monotonic()
        assert all(callers.map(refused, range(16)))
        assert monotonic() - began < 0.5 + SLACK
        own_valkey.thaw()
        wait_for(lambda: _is_sent(sender), what="the broker is back")


def _is_sent(sender: Commands) -> bool:
    try:
        return sender.create_session(Credential.issue(), None, None, wait=0).state == "pending"
    except Unavailable:
        return False
