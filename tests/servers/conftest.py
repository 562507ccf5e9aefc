"""The replaying server, and whole conversations with it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.migrations.runner import migrate
from core.runtime import Runtime
from core.settings import Settings
from tests.conftest import new_user
from tests.servers.chats import Chats
from tests.servers.replay import Replay
from tests.support.valkey import Valkey


@pytest.fixture(scope="session")
def replay() -> Iterator[Replay]:
    """One for the whole run."""
    server = Replay()
    yield server
    server.stop()


@pytest.fixture(scope="session", params=["a guest, on SQLite", "a user, on PostgreSQL"])
def chats(request: pytest.FixtureRequest, replay: Replay) -> Iterator[Chats]:
    """Conversations of guests and of users, each kind with a Valkey and a database of its own."""
    directory = Path(tempfile.mkdtemp(prefix="sb-servers-"))
    valkey = Valkey(directory)
    guest = "guest" in request.param
    if guest:
        database_url = f"sqlite:///{directory / 'test.db'}"
        migrate(database_url)
    else:
        database_url = request.getfixturevalue("postgres").create()
    settings = Settings(
        _env_file=None,
        configured_redis_url=valkey.url,
        configured_database_url=database_url,
        models_path=directory / "models.toml",
        state_dir=directory,
        limit_messages_anonymous=None,
        limit_messages_user=None,
    )
    settings.models_path.write_text(replay.models_toml())
    runtime = Runtime(settings)
    yield Chats(runtime, replay, None if guest else lambda: new_user(runtime.database))
    runtime.close()
    valkey.stop()
    shutil.rmtree(directory, ignore_errors=True)
