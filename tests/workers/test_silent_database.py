"""A worker whose database says nothing."""

import time
from collections.abc import Iterator

import pytest

from celery_config import QueueNames
from core.errors import Unavailable
from core.messaging.consumers import Presence
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.database import TRANSACTION_TIMEOUT
from tests.support.postgres import Postgres
from tests.support.waiting import wait_for
from tests.workers.local_process import Worker, WorkerProcess
from web.commands import Commands

SLACK = 2.0
"""Seconds for a test's busy machine."""


@pytest.fixture
def cut_off(
    no_worker: Worker, settings: Settings, runtime: Runtime, own_postgres: Postgres
) -> Iterator[WorkerProcess]:
    """A worker over a PostgreSQL of its own, in the place of the usual one."""
    directory = settings.state_dir / "cut-off"
    directory.mkdir(exist_ok=True)
    environment = {
        "REDIS_URL": settings.redis_url,
        "DATABASE_URL": own_postgres.create(),
        "SWITCHBOARD_MODELS": str(settings.models_path),
        "SWITCHBOARD_STATE_DIR": str(directory),
    }
    process = WorkerProcess(directory, environment, runtime.redis)
    process.restart(timeout=20)
    wait_for(lambda: not Presence(runtime.redis).missing(QueueNames.ALL), seconds=30, what="it consumes")
    yield process
    own_postgres.thaw()
    process.teardown()


@pytest.mark.one_database  # it has another one
def test_a_command_is_answered_and_the_worker_stops_when_it_is_told_to(
    cut_off: WorkerProcess, commands: Commands, runtime: Runtime, own_postgres: Postgres
) -> None:
    own_postgres.freeze()
    began = time.monotonic()
    pending = commands.create_session(Credential.issue(), None, "good", wait=0)
    wait_for(lambda: f"[{pending.task_id}] received" in cut_off.logs(), what="the worker takes it")
    cut_off.kill("SIGTERM")

    wait_for(lambda: cut_off.status == "exited", seconds=30, what="the worker stops")

    assert time.monotonic() - began < TRANSACTION_TIMEOUT + SLACK
    reply = runtime.replies.find(pending.task_id)
    assert reply is not None
    assert reply.problem is not None
    assert reply.problem["type"] == f"/problems/{Unavailable.slug}"
