"""A worker alone with its troubles: with a broker of its own beside Redis, and without beat."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from uuid_utils.compat import uuid7

from celery_config import QueueNames, TaskNames
from core.conversation.keys import keys
from core.errors import Unavailable
from core.messaging.consumers import Presence
from core.messaging.replies import Reply
from core.operations.installation import PRESENT_KEY
from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import Session
from tests.support.provider import ProviderServer
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.workers.conversation import Conversation
from tests.workers.local_process import WorkerProcess
from web.commands import Commands
from web.streaming.hub import Hub


class Alone:
    """The worker, its stores, and a web process that sends to it."""

    def __init__(self, settings: Settings, broker: Valkey, valkey: Valkey) -> None:
        self.broker, self.valkey = broker, valkey
        self.runtime = Runtime(settings)
        environment = {
            "REDIS_URL": valkey.url,
            "BROKER_URL": settings.broker_url,
            "DATABASE_URL": settings.database_url,
            "SWITCHBOARD_MODELS": str(settings.models_path),
            "SWITCHBOARD_STATE_DIR": str(settings.state_dir),
            "SWITCHBOARD_LEASE": f"{settings.lease.total_seconds()}s",
        }
        self.process = WorkerProcess(settings.state_dir, environment, self.runtime.redis)
        self.celery = celery = Celery("tests", set_as_current=False)
        celery.config_from_object("celery_config")
        celery.conf.broker_url = settings.broker_url
        self._hub = Hub(Runtime(settings).redis)
        self.commands = Commands(celery, self._hub, self.runtime.replies)

    def start(self) -> None:
        """Start the worker and wait until it consumes."""
        self.process.restart(20)
        self.process.ready()

    def conversation(self, model: str) -> Conversation:
        """A new one."""
        return Conversation(self.runtime, self.commands, model)

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.teardown()
        self._hub.close()
        self.runtime.close()


@pytest.fixture
def alone(
    own_valkey: Valkey, _migrated_sqlite: Path, database_url: str, tmp_path: Path, provider: ProviderServer
) -> Iterator[Alone]:
    """The worker, consuming."""
    directory = Path(tempfile.mkdtemp(prefix="sb-"))
    broker = Valkey(directory)
    models = tmp_path / "models.toml"
    models.write_text(provider.models_toml().replace("_timeout = 0.6", "_timeout = 20"))
    options: dict[str, Any] = {"lease": "1.5s"}
    settings = Settings(
        _env_file=None,
        configured_redis_url=own_valkey.url,
        configured_broker_url=broker.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host="),
        configured_database_url=database_url,
        models_path=models,
        state_dir=tmp_path,
        **options,
    )
    parts = Alone(settings, broker, own_valkey)
    parts.start()
    yield parts
    parts.close()
    broker.stop()


def _log_since(alone: Alone, before: str) -> str:
    return alone.process.logs()[len(before) :]


def _wait_for_log(alone: Alone, before: str, found: str) -> None:
    wait_for(lambda: found in _log_since(alone, before), what=f"it logs: {found}")


def test_without_beat_a_lost_workers_answer_is_carried_on(alone: Alone, go_on: Flag) -> None:
    paused = alone.conversation("paused")
    paused.say("Are you still there?")
    paused.begun()
    alone.process.kill()
    alone.start()
    wait_for(lambda: paused.events("resumed"), what="the next worker finds it by itself")
    go_on.set()
    assert paused.ended()["type"] == "done"
    assert paused.heard() == paused.last_word().text


def test_without_its_broker_a_worker_ends_its_answer_and_says_so_in_a_few_lines(alone: Alone, go_on: Flag) -> None:
    paused, waiting = alone.conversation("paused"), alone.conversation("good")
    paused.say("Hold on.")
    paused.begun()
    before = alone.process.logs()
    alone.broker.stop()
    waiting.runtime.generations.accept(waiting.session, "And I?")
    go_on.set()
    assert paused.ended()["type"] == "done"
    wait_for(lambda: "no worker could be called" in _log_since(alone, before), what="it is said")
    log = _log_since(alone, before)
    assert "Traceback" not in log
    assert "raised unexpected" not in log
    alone.broker.start()
    assert waiting.ended()["type"] == "done"


def test_a_reply_that_can_not_be_sent_is_sent_when_redis_is_back(alone: Alone) -> None:
    before = alone.process.logs()
    task_id, session_id = str(uuid7()), str(uuid7())
    alone.valkey.stop()
    alone.celery.send_task(TaskNames.CREATE_SESSION, [session_id, "00" * 32, None, "good"], task_id=task_id)
    wait_for(lambda: "the reply could not be sent" in _log_since(alone, before), seconds=30, what="it is noticed")
    wait_for(lambda: f"[{task_id}] retry" in _log_since(alone, before), what="it is put off")
    with alone.runtime.database.reading() as db:
        assert db.get(Session, UUID(session_id)) is not None  # it was carried out, and will not be twice
    alone.valkey.start()

    def reply() -> Reply | None:
        try:
            return alone.runtime.replies.find(task_id)
        except Unavailable:
            return None

    found = wait_for(reply, seconds=60, what="it is answered")
    assert found is not None
    assert (found.state, found.session_id) == ("done", session_id)
    assert "Traceback" not in _log_since(alone, before)


def test_a_hangup_stops_it_as_a_termination_does(alone: Alone, go_on: Flag) -> None:
    before = alone.process.logs()
    paused = alone.conversation("paused")
    paused.say("Shall I hang up?")
    paused.begun()
    alone.process.kill("SIGHUP")
    wait_for(lambda: alone.process.status == "exited", seconds=20, what="it has stopped, and not begun anew")
    assert "told to stop" in _log_since(alone, before)
    alone.start()
    go_on.set()
    assert paused.ended()["type"] == "done"


def test_another_installation_on_its_redis_is_logged_and_not_healed(alone: Alone) -> None:
    before, redis = alone.process.logs(), alone.runtime.redis
    (now, _) = redis.time()
    redis.zadd(PRESENT_KEY, {"another": int(now) + 60})
    theirs = keys(uuid7())
    redis.xadd(theirs.words, {"text": "Another's words"})
    checks = alone.runtime.check_results

    def check() -> None:
        began = datetime.now(UTC)
        alone.celery.send_task(TaskNames.CHECK_INVARIANTS)
        wait_for(lambda: (found := checks.latest()) and found.at > began, what="the invariants are checked")

    _wait_for_log(alone, before, "another installation uses the Redis of REDIS_URL")
    check()
    assert redis.exists(theirs.words)
    redis.zrem(PRESENT_KEY, "another")
    check()
    assert not redis.exists(theirs.words)


@pytest.mark.parametrize(
    ("refuse", "take", "said"),
    [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "it is a read-only replica"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "it has too few replicas"),
    ],
    ids=["demoted", "refusing"],
)
def test_a_redis_that_takes_no_writes_is_left_without_a_traceback(
    alone: Alone, refuse: str, take: str, said: str
) -> None:
    for store in (alone.broker, alone.valkey):
        before = alone.process.logs()
        client = store.client()
        client.execute_command(*refuse.split())
        found = said if store is alone.broker else "heartbeat could not be told"
        _wait_for_log(alone, before, found)
        client.execute_command(*take.split())
        assert "Traceback" not in _log_since(alone, before)
        assert alone.process.status == "running"
    wait_for(lambda: not Presence(alone.runtime.redis).missing(QueueNames.ALL), what="it consumes again")
    good = alone.conversation("good")
    good.say("Are you back?")
    assert good.ended()["type"] == "done"
