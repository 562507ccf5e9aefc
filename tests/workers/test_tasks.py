"""What the tasks do, in a worker process of their own, for a web process on the other side of the queue."""

import ast
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event as Flag
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestSetup
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from celery_config import HOLDER, TaskNames
from core.conversation.keys import keys
from core.messaging.replies import Reply
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.redis import Redis
from core.stores.tables import Generation, Session
from tests.conftest import new_user
from tests.support.provider import ANSWER, ProviderServer
from tests.support.waiting import wait_for
from tests.workers.conversation import Conversation, locked
from tests.workers.local_process import Worker
from web.commands import Commands

WAIT = 10.0
"""Seconds for a reply that is expected: long, because a test's machine is busy."""


def _sessions(runtime: Runtime) -> int:
    with runtime.database.reading() as db:
        return db.scalar(select(func.count()).select_from(Session)) or 0


def _results(worker: Worker, name: str, task_ids: list[str]) -> list[str]:
    """What the tasks have returned, as the worker has logged it; waits for all of them."""

    def found() -> list[str]:
        pattern = rf"Task {re.escape(name)}\[({'|'.join(task_ids)})\] succeeded in \S+: (.*)"
        return [match[2] for match in re.finditer(pattern, worker.logs())]

    wait_for(lambda: len(found()) >= len(task_ids), what=f"{name} succeeds")
    return found()


class TestCreate:
    def test_the_reply_is_the_new_session_and_its_row_is_committed(
        self, worker: Worker, commands: Commands, runtime: Runtime
    ) -> None:
        credential = Credential.issue()

        reply = commands.create_session(credential, None, "echo-length", wait=WAIT)

        assert reply.state == "done"
        assert reply.result is not None
        assert reply.result["session_id"] == reply.session_id == str(credential.session_id)
        assert (reply.result["anonymous"], reply.result["model"]) == (True, "echo-length")
        with runtime.database.reading() as db:
            row = runtime.sessions.validate_session(
                credential.session_id, db, require_valid=True, secret_hash=credential.secret_hash
            )
        assert row is not None
        assert runtime.sessions.describe(row) == reply.result

    def test_an_owner_proves_an_owned_session(self, worker: Worker, commands: Commands, runtime: Runtime) -> None:
        owner = new_user(runtime.database)
        credential = Credential.issue()

        reply = commands.create_session(credential, owner, None, wait=WAIT)

        assert reply.result is not None
        assert reply.result["anonymous"] is False
        with runtime.database.reading() as db:
            assert runtime.sessions.validate_session(credential.session_id, db, owner) is not None

    def test_an_owner_who_has_been_deleted_meanwhile_is_a_problem(self, worker: Worker, commands: Commands) -> None:
        reply = commands.create_session(Credential.issue(), uuid4(), None, wait=WAIT)

        assert reply.problem is not None
        assert (reply.problem["status"], reply.problem["type"]) == (401, "/problems/login-required")

    def test_the_same_command_twice_at_once_makes_one_session(
        self, worker: Worker, commands: Commands, runtime: Runtime
    ) -> None:
        credential = Credential.issue()
        before = _sessions(runtime)

        with ThreadPoolExecutor(4) as callers:
            calls = [callers.submit(commands.create_session, credential, None, None, WAIT) for _ in range(4)]
            replies = [call.result() for call in calls]

        assert [reply.state for reply in replies] == ["done"] * 4
        assert all(reply.result == replies[0].result for reply in replies)
        assert _sessions(runtime) == before + 1

    def test_an_id_that_is_taken_is_not_given_to_another_secret(self, worker: Worker, commands: Commands) -> None:
        first = Credential.issue()
        commands.create_session(first, None, None, wait=WAIT)

        reply = commands.create_session(Credential(first.session_id, "another"), None, None, wait=WAIT)

        assert reply.problem is not None
        assert reply.problem["status"] == 401


class TestSwitchModel:
    def test_the_reply_and_the_log_tell_of_the_new_model(self, worker: Worker, conversation: Conversation) -> None:
        session_id = conversation.session.id

        reply = conversation.commands.switch_model(session_id, "echo-length", None, 1, wait=WAIT)

        assert reply.result is not None
        assert (reply.result["model"], reply.result["version"]) == ("echo-length", 2)
        (event,) = conversation.events("model")
        assert event.data == '{"model":"echo-length","version":2}'

    def test_of_many_with_the_same_version_one_wins_and_the_others_learn_that_it_is_stale(
        self, worker: Worker, conversation: Conversation
    ) -> None:
        def switch(model: str) -> int:
            reply = conversation.commands.switch_model(conversation.session.id, model, None, 1, wait=WAIT)
            return reply.problem["status"] if reply.problem else 200

        with ThreadPoolExecutor(4) as callers:
            statuses = list(callers.map(switch, ["good", "paused", "cut", "broken"]))

        assert sorted(statuses) == [200, 412, 412, 412]
        assert len(conversation.events("model")) == 1

    def test_an_unknown_model_is_a_problem_of_the_request(self, worker: Worker, conversation: Conversation) -> None:
        reply = conversation.commands.switch_model(conversation.session.id, "gpt-nothing", None, None, wait=WAIT)

        assert reply.problem is not None
        assert (reply.problem["status"], reply.problem["type"]) == (422, "/problems/unknown-model")
        assert conversation.events("model") == []

    def test_a_stranger_may_not(self, worker: Worker, commands: Commands, runtime: Runtime) -> None:
        credential = Credential.issue()
        created = commands.create_session(credential, new_user(runtime.database), "good", wait=WAIT)
        assert created.state == "done"

        replies = [
            commands.switch_model(credential.session_id, "paused", stranger, None, wait=WAIT)
            for stranger in (new_user(runtime.database), None)
        ]

        assert [reply.problem and reply.problem["status"] for reply in replies] == [403, 403]

    def test_a_session_that_never_was_is_a_problem_and_not_a_silence(
        self, worker: Worker, commands: Commands
    ) -> None:
        reply = commands.switch_model(uuid4(), "good", None, None, wait=WAIT)

        assert reply.problem is not None
        assert reply.problem["status"] == 401


class TestGenerate:
    def test_the_providers_answer_reaches_the_log_whole(
        self, worker: Worker, conversation: Conversation, provider: ProviderServer
    ) -> None:
        conversation.say("How does it end?")

        end = conversation.ended()

        assert (end["type"], end["finish_reason"], end["length"]) == ("done", "stop", len(ANSWER))
        assert conversation.heard() == conversation.last_word().text == ANSWER
        assert provider.requests[-1]["messages"][-1] == {"role": "user", "content": "How does it end?"}

    def test_the_words_of_an_owned_session_are_kept_without_redis(
        self, worker: Worker, conversation: Conversation, redis: Redis
    ) -> None:
        owned = conversation.on("good", owner=new_user(conversation.runtime.database))
        owned.say("How does it end?")
        owned.ended()

        redis.delete(*keys(owned.session.id))

        words = owned.runtime.transcript.read(owned.session).messages
        assert [(word.role, word.text) for word in words] == [("user", "How does it end?"), ("assistant", ANSWER)]

    def test_however_often_it_is_queued_it_is_answered_once(
        self,
        worker: Worker,
        conversation: Conversation,
        go_on: Flag,
        provider: ProviderServer,
        celery_setup_app: Celery,
    ) -> None:
        paused = conversation.on("paused")
        asked = len(provider.requests)

        generation_id = paused.say("Once, please.")
        doubles = [_send(celery_setup_app, TaskNames.GENERATE, str(generation_id)) for _ in range(3)]
        paused.begun()
        _results(worker, TaskNames.GENERATE, doubles)  # while the first one still writes
        go_on.set()
        paused.ended()
        late = _send(celery_setup_app, TaskNames.GENERATE, str(generation_id))
        _results(worker, TaskNames.GENERATE, [late])

        assert len(paused.events("started")) == len(paused.events("done", "failed")) == 1
        assert paused.heard() == paused.last_word().text
        assert len(provider.requests) == asked + 1

    def test_a_long_answer_keeps_no_command_waiting(
        self, worker: Worker, conversation: Conversation, go_on: Flag
    ) -> None:
        paused = conversation.on("paused")
        paused.say("Take your time.")
        paused.begun()

        reply = paused.commands.create_session(Credential.issue(), None, None, wait=WAIT)

        assert reply.state == "done"
        assert not paused.events("done", "failed")

    def test_neither_words_nor_secrets_are_logged(self, worker: Worker, conversation: Conversation) -> None:
        conversation.say("my aunt is a carpenter")
        failing = conversation.on("error-in-stream")
        failing.say("my aunt is a carpenter")
        conversation.ended()
        assert failing.ended()["type"] == "failed"

        logs = worker.logs()

        assert "carpenter" not in logs
        assert "你好" not in logs
        assert "sk-secret" not in logs  # what the provider's error said


class TestSweep:
    def test_expired_sessions_go_with_their_words_and_live_ones_stay(
        self, worker: Worker, conversation: Conversation, redis: Redis, celery_setup_app: Celery
    ) -> None:
        expired = [conversation.on("good") for _ in range(3)]
        for each in (*expired, conversation):
            each.say("Remember me.")
            each.ended()
        for each in expired:
            _expire(each)

        # Both wait for the database, and so really run at once.
        with locked(conversation.runtime.database):
            task_ids = [_send(celery_setup_app, TaskNames.SWEEP_EXPIRED) for _ in range(2)]
            wait_for(lambda: all(f"[{task_id}] received" in worker.logs() for task_id in task_ids), what="both run")
        swept = [ast.literal_eval(result) for result in _results(worker, TaskNames.SWEEP_EXPIRED, task_ids)]

        assert sum(each["sessions"] for each in swept if each) == 3  # one that meets another returns 0
        assert redis.exists(*(key for each in expired for key in keys(each.session.id))) == 0
        with conversation.runtime.database.reading() as db:
            left = set(db.scalars(select(Session.id)))
            orphans = db.scalars(select(Generation).where(Generation.session_id.not_in(left))).all()
        assert conversation.session.id in left
        assert not left & {each.session.id for each in expired}
        assert orphans == []
        assert conversation.last_word().text == ANSWER


class TestFlower:
    def test_the_events_show_ids_and_no_secrets(
        self, worker: Worker, conversation: Conversation, celery_setup: CeleryTestSetup, redis: Redis
    ) -> None:
        credential = Credential.issue()
        assert credential.secret is not None
        assert credential.secret_hash is not None

        with _Captured(celery_setup.app, redis) as captured:
            conversation.commands.create_session(credential, None, "good", wait=WAIT)
            generation_id = conversation.say("my aunt is a carpenter")
            created = captured.task(TaskNames.CREATE_SESSION, credential.session_id)
            generated = captured.task(TaskNames.GENERATE, generation_id)

        assert created["args"] == str([str(credential.session_id), credential.secret_hash.hex(), None, "good"])
        assert generated["args"] == str([str(generation_id)])
        everything = str(captured.events)
        assert credential.secret not in everything
        assert "carpenter" not in everything


class _Captured:
    """The workers' events between entering and leaving, as Flower gets them."""

    def __init__(self, app: Celery, redis: Redis) -> None:
        self.events: list[dict[str, Any]] = []
        self._app = app
        self._redis = redis
        self._thread = Thread(target=self._capture, daemon=True)

    def __enter__(self) -> "_Captured":
        patterns = self._redis.pubsub_numpat()
        self._thread.start()
        wait_for(lambda: self._redis.pubsub_numpat() > patterns, what="the receiver is subscribed")
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(5)

    def task(self, name: str, about: UUID) -> dict[str, Any]:
        """What is known of the task of this name with this id among its arguments, once it has succeeded: workers
        gather their events, so that those of tests before may come now."""

        def known() -> dict[str, Any]:
            events = list(self.events)
            found = [each for each in events if each.get("name") == name and str(about) in each["args"]]
            ids = [event["uuid"] for event in found]
            if not any(event["type"] == "task-succeeded" and event["uuid"] in ids for event in events):
                return {}
            return found[0]

        return wait_for(known, what=f"{name} succeeds")

    def _capture(self) -> None:
        with self._app.connection_for_read() as connection:
            self._receiver = self._app.events.Receiver(connection, handlers={"*": self.events.append})
            self._receiver.capture(limit=None, timeout=None, wakeup=False)


def _send(app: Celery, name: str, *args: str) -> str:
    """Put a bare task on its queue, as beat or a redelivery does; returns its id."""
    task_id = str(uuid4())
    app.send_task(name, args, task_id=task_id)
    return task_id


def _expire(conversation: Conversation) -> None:
    with conversation.runtime.database.writing() as db:
        db.get_one(Session, conversation.session.id).expires_at = datetime.now(UTC) - timedelta(seconds=1)


class TestEveryCommand:
    def test_what_goes_wrong_unexpectedly_is_answered_too(self, worker: Worker, commands: Commands) -> None:
        reply = commands._call(TaskNames.CREATE_SESSION, uuid4(), ["not hex", None, None], WAIT, "secret ")

        assert reply.problem is not None
        assert (reply.problem["status"], reply.problem["type"]) == (500, "/problems/internal")
        assert "hex" not in str(reply.problem)

    @pytest.mark.parametrize("forgotten", [False, True])
    def test_a_switch_that_is_delivered_again_is_the_same_success(
        self,
        worker: Worker,
        conversation: Conversation,
        runtime: Runtime,
        celery_setup_app: Celery,
        forgotten: bool,
    ) -> None:
        """Also when the first delivery died between its commit and its reply."""
        task_id, session_id = str(uuid7()), str(conversation.session.id)

        def deliver() -> Reply:
            celery_setup_app.send_task(
                TaskNames.SWITCH_MODEL, [session_id, "paused", None, 1], task_id=task_id, headers={HOLDER: "x"}
            )
            return wait_for(lambda: runtime.replies.find(task_id), what="it is answered")

        first = deliver()
        if forgotten:
            runtime.redis.delete(f"sb:task:{task_id}")
        second = deliver()
        _results(worker, TaskNames.SWITCH_MODEL, [task_id, task_id])

        assert first.result is not None
        assert second.result == first.result
        with runtime.database.reading() as db:
            assert db.get_one(Session, conversation.session.id).version == 2
