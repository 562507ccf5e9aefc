"""Workers and brokers that come late, stop, die and come back."""

import base64
import json
import re
import time
from datetime import UTC, datetime
from threading import Event as Flag

from celery import Celery
from pytest_celery import CeleryTestSetup

from celery_config import QueueNames, TaskNames
from core.errors import Unavailable
from core.messaging.replies import Reply
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.redis import Redis
from core.stores.tables import Generation, Session
from tests.support.waiting import wait_for
from tests.workers.conversation import TERMINAL, Conversation, locked
from tests.workers.local_process import Worker
from web.commands import Commands

WAIT = 10.0


class TestLateWorker:
    def test_a_command_is_pending_until_a_worker_comes(
        self, no_worker: Worker, commands: Commands, runtime: Runtime
    ) -> None:
        began = time.monotonic()
        reply = commands.create_session(Credential.issue(), None, None, wait=0.2)
        assert reply.state == "pending"
        assert time.monotonic() - began < 2.0
        assert runtime.replies.find(reply.task_id) == reply

        no_worker.ensure_running()

        late = _done(runtime, reply)
        assert late.result is not None
        assert late.result["session_id"] == reply.session_id

    def test_messages_on_the_broker_hold_neither_secrets_nor_words(
        self, no_worker: Worker, conversation: Conversation, redis: Redis
    ) -> None:
        credential = Credential.issue()
        assert credential.secret is not None

        conversation.commands.create_session(credential, None, "good", wait=0)
        generation_id = conversation.say("my aunt is a carpenter")
        queued = _messages(redis)

        assert str(credential.session_id) in queued  # these are the messages,
        assert str(generation_id) in queued
        assert credential.secret not in queued  # and this is not in them
        assert "carpenter" not in queued


class TestBrokerRestart:
    def test_queued_commands_survive_it(
        self, no_worker: Worker, commands: Commands, runtime: Runtime, celery_setup: CeleryTestSetup
    ) -> None:
        replies = [commands.create_session(Credential.issue(), None, None, wait=0) for _ in range(3)]
        assert {reply.state for reply in replies} == {"pending"}

        celery_setup.broker.restart()
        no_worker.ensure_running()

        for reply in replies:
            _done(runtime, reply)

    def test_the_worker_and_the_hub_find_back_by_themselves(
        self, worker: Worker, commands: Commands, celery_setup: CeleryTestSetup
    ) -> None:
        def answered() -> bool:
            try:
                return commands.create_session(Credential.issue(), None, None, wait=1.0).state == "done"
            except Unavailable:  # what the web process says until its hub is back
                return False

        celery_setup.broker.restart()

        wait_for(answered, what="a command is answered again")
        assert worker.container.status == "running"

    def test_a_command_that_runs_meanwhile_is_carried_out_and_leaves_no_traceback(
        self, worker: Worker, commands: Commands, runtime: Runtime, celery_setup: CeleryTestSetup
    ) -> None:
        before = len(worker.logs())
        with locked(runtime.database):  # so the command runs until it is let go
            reply = commands.create_session(Credential.issue(), None, None, wait=0)
            wait_for(lambda: f"[{reply.task_id}] received" in worker.logs(), what="the worker takes it")
            celery_setup.broker.restart()
            wait_for(lambda: "onnection to broker lost" in worker.logs()[before:], what="the worker notices")
        _done(runtime, reply)
        since = worker.logs()[before:]
        assert "Failed to cancel" not in since
        assert "  File " not in since

    def test_an_answer_that_is_being_written_outlives_it(
        self, worker: Worker, conversation: Conversation, go_on: Flag, celery_setup: CeleryTestSetup
    ) -> None:
        paused = conversation.on("paused")
        paused.say("Hold on.")
        paused.begun()

        celery_setup.broker.kill(signal="SIGTERM")
        away = time.monotonic()
        wait_for(lambda: time.monotonic() > away + 0.3, what="some tokens come that can't be told")
        celery_setup.broker.restart()
        before = len(paused.events("delta"))
        wait_for(lambda: len(paused.events("delta")) > before, what="it goes on")
        go_on.set()

        assert paused.ended()["type"] == "done"
        assert paused.heard() == paused.last_word().text
        assert paused.heard().startswith("Wait.")
        assert paused.heard().endswith(" for it")

    def test_an_answer_whose_worker_gave_up_is_carried_on_when_the_broker_is_back(
        self,
        worker: Worker,
        conversation: Conversation,
        go_on: Flag,
        celery_setup: CeleryTestSetup,
        celery_setup_app: Celery,
    ) -> None:
        paused = conversation.on("paused")
        paused.say("Hold on.")
        paused.begun()
        over = re.compile(rf"Task {TaskNames.GENERATE}\[\S+\] (succeeded|raised)")
        before = len(over.findall(worker.logs()))

        celery_setup.broker.kill(signal="SIGTERM")
        wait_for(lambda: len(over.findall(worker.logs())) > before, seconds=30, what="the worker gives up")
        celery_setup.broker.restart()
        worker.ensure_running()

        def carried_on() -> bool:
            celery_setup_app.send_task(TaskNames.REAP_GENERATIONS)  # again and again, as beat does
            return bool(paused.events("resumed"))

        wait_for(carried_on, what="another worker carries on")
        go_on.set()
        _one_good_end(paused)


class TestLostWorker:
    def test_its_answer_is_carried_on_by_the_next(
        self, worker: Worker, conversation: Conversation, go_on: Flag, celery_setup_app: Celery
    ) -> None:
        paused = conversation.on("paused")
        generation_id = paused.say("Are you still there?")
        paused.begun()

        worker.kill()
        written = paused.heard()
        assert not paused.events(*TERMINAL)
        worker.ensure_running()
        _lapse(paused.runtime, generation_id)
        for _ in range(3):
            celery_setup_app.send_task(TaskNames.REAP_GENERATIONS)
        wait_for(lambda: paused.events("resumed"), what="the next worker carries on")
        go_on.set()

        _one_good_end(paused)
        assert paused.heard().startswith(written)
        assert len(paused.events("resumed")) == 1

    def test_its_command_is_delivered_again(
        self, worker: Worker, commands: Commands, runtime: Runtime, redis: Redis
    ) -> None:
        credential = Credential.issue()
        with locked(runtime.database):
            reply = commands.create_session(credential, None, None, wait=0)
            wait_for(lambda: f"[{reply.task_id}] received" in worker.logs(), what="the worker takes it")
            worker.kill()
        assert str(credential.session_id) not in _messages(redis)
        for tag, _ in redis.zscan_iter("unacked_index"):
            redis.zadd("unacked_index", {str(tag): 0})  # as if the visibility timeout had passed

        worker.ensure_running()

        assert _done(runtime, reply).session_id == str(credential.session_id)

    def test_a_worker_that_is_told_to_stop_hands_its_answer_on_at_once(
        self, worker: Worker, conversation: Conversation, go_on: Flag
    ) -> None:
        paused = conversation.on("paused")
        paused.say("Quickly!")
        paused.begun()

        worker.kill(signal="SIGTERM")
        wait_for(lambda: worker.container.status == "exited", seconds=5, what="the worker stops")
        assert not paused.events(*TERMINAL)

        worker.ensure_running()  # no lease has to lapse, and no reaper to run
        wait_for(lambda: paused.events("resumed"), what="the next worker carries on")
        go_on.set()
        _one_good_end(paused)

    def test_a_command_that_runs_when_it_is_told_to_stop_is_carried_out(
        self, worker: Worker, commands: Commands, runtime: Runtime
    ) -> None:
        credential = Credential.issue()
        heard = worker.logs().count("told to stop")
        with locked(runtime.database):  # so the command runs until it is let go
            reply = commands.create_session(credential, None, None, wait=0)
            wait_for(lambda: f"[{reply.task_id}] received" in worker.logs(), what="the worker takes it")
            worker.kill(signal="SIGTERM")
            wait_for(lambda: worker.logs().count("told to stop") > heard, what="the worker hears of it")

        wait_for(lambda: worker.container.status == "exited", seconds=5, what="the worker stops")
        assert _done(runtime, reply).session_id == str(credential.session_id)
        with runtime.database.reading() as db:
            assert db.get(Session, credential.session_id) is not None


def _one_good_end(conversation: Conversation) -> None:
    """The answer is whole: one end, and what was streamed is what is kept."""
    assert conversation.ended()["type"] == "done"
    assert len(conversation.events(*TERMINAL)) == 1
    assert conversation.heard() == conversation.last_word().text
    assert conversation.heard().endswith(" for it")


def _done(runtime: Runtime, pending: Reply) -> Reply:
    """The reply that takes the pending one's place."""

    def find() -> Reply | None:
        reply = runtime.replies.find(pending.task_id)
        return reply if reply and reply.state != "pending" else None

    reply = wait_for(find, what="the reply comes")
    assert reply is not None
    assert reply.state == "done"
    return reply


def _lapse(runtime: Runtime, generation_id: object) -> None:
    """Wait until the generation's lease is over."""
    with runtime.database.reading() as db:
        until = db.get_one(Generation, generation_id).lease_until
    wait_for(lambda: datetime.now(UTC) > until, what="the lease lapses")


def _messages(redis: Redis) -> str:
    """All that waits in the queues, as it is stored and decoded."""
    raw = [str(message) for queue in QueueNames.ALL for message in redis.lrange(queue, 0, -1)]
    return "\n".join([*raw, *(base64.b64decode(json.loads(message)["body"]).decode() for message in raw)])
