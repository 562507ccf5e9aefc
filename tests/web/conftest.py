"""The front end against a real worker process, a real Valkey and a real database."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from celery_config import QueueNames
from core.messaging.consumers import Presence
from core.migrations.runner import migrate
from core.operations.job_runs import JobRuns
from core.runtime import Runtime
from core.settings import Settings
from tests.support.provider import ProviderServer
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from web.app import create_app
from web.context import context_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _paused_answers_wait(provider: ProviderServer) -> None:
    """The model `paused` waits, whatever the test before has told it."""
    provider.go_on.clear()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest, provider: ProviderServer) -> Iterator[Settings]:
    """A worker process on all queues, with a Valkey and a database of its own: once on SQLite, once on PostgreSQL."""
    directory = Path(tempfile.mkdtemp(prefix="sb-web-"))
    valkey = Valkey(directory)
    if request.param == "sqlite":
        database_url = f"sqlite:///{directory / 'test.db'}"
        migrate(database_url)
    else:
        database_url = request.getfixturevalue("postgres").create()
    settings = Settings(
        configured_redis_url=valkey.url,
        configured_database_url=database_url,
        models_path=directory / "models.toml",
        state_dir=directory,
        # Every test comes from one address; tests/web/test_limits.py has limits of its own.
        limit_create=None,
        limit_create_global=None,
        limit_create_user=None,
        limit_changes=None,
        limit_export=None,
        limit_read=None,
        limit_idempotency=None,
        limit_messages_anonymous=None,
        limit_messages_user=None,
        limit_login=None,
    )
    settings.models_path.write_text(provider.models_toml())
    environment = {
        "REDIS_URL": valkey.url,
        "DATABASE_URL": settings.database_url,
        "SWITCHBOARD_MODELS": str(settings.models_path),
        "SWITCHBOARD_STATE_DIR": str(directory),
        "SWITCHBOARD_LOG_LEVEL": "info",
        "SWITCHBOARD_LOG_FORMAT": "json",
    }
    command = f"celery -A workers.app worker -Q {','.join(QueueNames.ALL)} --pool threads --concurrency 8 --beat"
    with (directory / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", *command.split(), "--without-gossip", "--without-mingle"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    presence = Presence(valkey.client())
    runs = JobRuns(valkey.client())
    wait_for(
        lambda: not presence.missing(QueueNames.ALL) and not runs.overdue(), seconds=30, what="the worker is ready"
    )
    yield settings
    worker.terminate()
    worker.wait(20)
    valkey.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def web_runtime(stack: Settings) -> Iterator[Runtime]:
    """The parts of a web process."""
    parts = Runtime(stack)
    yield parts
    parts.close()


@pytest.fixture
def app(web_runtime: Runtime) -> Iterator[Flask]:
    """The application."""
    application = create_app(web_runtime)
    yield application
    context_of(application).hub.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser with a cookie jar of its own."""
    return app.test_client()


@pytest.fixture
def other(app: Flask) -> FlaskClient:
    """Another person's browser."""
    return app.test_client()
