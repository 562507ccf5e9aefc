"""A worker whose database takes no writes: what the sender of a command is told."""

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from celery_config import QueueNames
from core.messaging.consumers import Presence
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from tests.support.postgres import Postgres
from tests.support.waiting import wait_for
from tests.workers.local_process import Worker, WorkerProcess
from web.commands import CommandFailed, Commands, result_of


@pytest.fixture
def read_only(
    no_worker: Worker, settings: Settings, runtime: Runtime, own_postgres: Postgres
) -> Iterator[WorkerProcess]:
    """A worker over a PostgreSQL that takes no writes, in the place of the usual one."""
    directory = settings.state_dir / "read-only"
    directory.mkdir(exist_ok=True)
    url = own_postgres.create()
    own_postgres.execute(f"ALTER DATABASE {make_url(url).database} SET default_transaction_read_only = on")
    environment = {
        "REDIS_URL": settings.redis_url,
        "DATABASE_URL": url,
        "SWITCHBOARD_MODELS": str(settings.models_path),
        "SWITCHBOARD_STATE_DIR": str(directory),
    }
    process = WorkerProcess(directory, environment, runtime.redis)
    process.restart(timeout=20)
    wait_for(lambda: not Presence(runtime.redis).missing(QueueNames.ALL), seconds=30, what="it consumes")
    yield process
    process.kill("SIGTERM")
    wait_for(lambda: process.status == "exited", seconds=30, what="it has acknowledged all, and stopped")
    process.teardown()


@pytest.mark.one_database  # it has another one
def test_a_command_is_answered_with_when_to_come_back(read_only: WorkerProcess, commands: Commands) -> None:
    reply = commands.create_session(Credential.issue(), None, "good", wait=20)
    with pytest.raises(CommandFailed) as failed:
        result_of(reply)
    assert (failed.value.status, failed.value.retry_after) == (503, 2)
    assert failed.value.detail == "The database takes no writes; try again in a moment."
    logs = read_only.logs()
    assert "the database is read-only, or a standby" in logs
    assert "Traceback" not in logs
