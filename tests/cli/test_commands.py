"""The `switchboard` command: what it prints and how it ends."""

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from core.stores.revisions import current_revision, newest_revision
from tests.support.valkey import Valkey

ROOT = Path(__file__).parents[2]
SWITCHBOARD = Path(sys.executable).with_name("switchboard")
OURS = ("SWITCHBOARD_", "DATABASE_URL", "REDIS_URL", "BROKER_URL", "PORT", "FLOWER_PORT")


def switchboard(directory: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in an empty directory, with none of the developer's own settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return subprocess.run(
        [SWITCHBOARD, *arguments],
        cwd=directory,
        env={**inherited, "SWITCHBOARD_MODELS": str(ROOT / "models.toml"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(result: "subprocess.CompletedProcess[str]") -> str:
    """The one line that a command which can't go on leaves on standard error."""
    assert result.returncode == 1, result
    assert result.stderr.startswith("switchboard: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(tmp_path: Path, flag: str) -> None:
    result = switchboard(tmp_path, flag)
    assert result.returncode == 0
    for command in ("up", "worker", "beat", "flower", "migrate", "models", "usage", "users", "doctor", "model"):
        assert f"\n  {command} " in result.stdout


def test_version(tmp_path: Path) -> None:
    assert switchboard(tmp_path, "--version").stdout.startswith("switchboard ")


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("PORT", "eight", "should be a valid integer"),
        ("PORT", "99999", "less than or equal to 65535"),
        ("SWITCHBOARD_ANONYMOUS_IDLE", "soon", "write a positive number and ms, s, m, h or d: 30m"),
        ("SWITCHBOARD_AUTO_CREATE", "always", "'on_message', 'on_stream' or 'never'"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_starts(tmp_path: Path, variable: str, value: str, remedy: str) -> None:
    message = refused(switchboard(tmp_path, "up", **{variable: value}))
    assert f"{variable}={value}: " in message
    assert remedy in message
    assert list(tmp_path.iterdir()) == []


MODEL = '[models.a]\nlabel = "A"\nprovider = "openai"\nmodel = "a"\nbase_url = "http://127.0.0.1:1/v1"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('default = "b"\n' + MODEL, "default: there is no table [models.b]"),
        ('default = "a"\n' + MODEL + "max_concurrency = 0\n", "[models.a] max_concurrency: "),
        ('default = "a"\n' + MODEL + "temprature = 1\n", "[models.a] temprature: "),
        ("default = \n", "not valid TOML"),
    ],
)
@pytest.mark.parametrize("command", ["up", "models"])
def test_a_wrong_model_file_is_named_and_nothing_starts(
    tmp_path: Path, command: str, text: str, complaint: str
) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text)
    message = refused(switchboard(tmp_path, command, SWITCHBOARD_MODELS=str(path)))
    assert f"{path}: " in message
    assert complaint in message
    assert list(tmp_path.iterdir()) == [path]


def test_a_taken_port_is_named_and_nothing_starts(tmp_path: Path, taken_port: int) -> None:
    message = refused(switchboard(tmp_path, "up", PORT=str(taken_port)))
    assert f"PORT={taken_port}: port {taken_port} on 127.0.0.1 is taken by " in message
    assert f", pid {os.getpid()}; stop that, or set PORT to a free one" in message
    message = refused(switchboard(tmp_path, "up", FLOWER_PORT=str(taken_port), PORT=str(_free_port())))
    assert "set FLOWER_PORT" in message
    assert not (tmp_path / ".switchboard" / "switchboard.db").exists()


def test_a_flower_that_anybody_could_reach_is_refused_before_anything_starts(tmp_path: Path) -> None:
    ports = {"PORT": str(_free_port()), "FLOWER_PORT": str(_free_port())}
    result = switchboard(tmp_path, "up", FLOWER_ADDRESS="0.0.0.0", **ports)
    assert "FLOWER_ADDRESS=0.0.0.0: whoever reaches it could see the tasks; set FLOWER_BASIC_AUTH" in refused(result)
    assert result.stdout == ""
    assert not (tmp_path / ".switchboard" / "switchboard.db").exists()
    told = switchboard(tmp_path, "doctor", FLOWER_ADDRESS="0.0.0.0", **ports).stdout
    assert "✗ flower     FLOWER_ADDRESS=0.0.0.0: whoever reaches it" in told


def test_two_servers_can_not_share_a_port(tmp_path: Path) -> None:
    assert "PORT and FLOWER_PORT are both 6000" in refused(
        switchboard(tmp_path, "up", PORT="6000", FLOWER_PORT="6000")
    )


def test_the_model_server_says_when_its_port_is_taken(tmp_path: Path, taken_port: int) -> None:
    url = f"http://127.0.0.1:{taken_port}/v1"
    result = switchboard(tmp_path, "model", SWITCHBOARD_MODEL_URL=url, SWITCHBOARD_MODEL_KEY="sesame")
    assert result.returncode == 1
    assert f"can't start at http://127.0.0.1:{taken_port}/v1: is the port taken?" in result.stderr


def test_a_queue_that_there_is_not_is_named_with_those_that_there_are(
    tmp_path: Path, valkey: Valkey, database_url: str
) -> None:
    stores = {"REDIS_URL": valkey.url, "DATABASE_URL": database_url, "SWITCHBOARD_STATE_DIR": str(tmp_path)}
    result = switchboard(tmp_path, "worker", "--queues", "nonsense", **stores)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == (
        "switchboard: there is no queue nonsense; take sessions, chat, maintenance"
    )


def test_migrate_says_from_where_to_where(tmp_path: Path) -> None:
    first, second = switchboard(tmp_path, "migrate"), switchboard(tmp_path, "migrate")
    assert first.stdout.startswith("database migrated from empty to ")
    assert second.stdout.startswith("database is at revision ")
    assert (tmp_path / ".switchboard" / "switchboard.db").exists()


def test_migrations_of_one_file_that_start_together_take_turns(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with ThreadPoolExecutor(3) as together:
        results = list(together.map(lambda _: switchboard(tmp_path, "migrate", DATABASE_URL=url), range(3)))
    assert [(result.returncode, result.stderr) for result in results] == [(0, "")] * 3
    assert current_revision(url) == newest_revision()


def test_a_migration_that_fails_leaves_a_file_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    with closing(sqlite3.connect(tmp_path / "old.db")) as database:
        database.execute("CREATE TABLE session (id INTEGER)")  # in the way of the first revision
        before = list(database.iterdump())
        assert "table session already exists" in refused(switchboard(tmp_path, "migrate", DATABASE_URL=url))
        assert list(database.iterdump()) == before


def test_a_start_whose_database_can_not_be_migrated_says_why(tmp_path: Path) -> None:
    ports = {"PORT": str(_free_port()), "FLOWER_PORT": str(_free_port())}
    url = "postgresql+psycopg://user:hidden@127.0.0.1:1/x"
    message = refused(switchboard(tmp_path, "up", DATABASE_URL=url, **ports))
    assert message.startswith(
        "switchboard: DATABASE_URL=postgresql+psycopg://user:***@127.0.0.1:1/x: nothing listens there"
    )


def test_an_unreachable_database_is_one_line_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://someone:hunter2@127.0.0.1:{_free_port()}/switchboard"
    message = refused(switchboard(tmp_path, "migrate", DATABASE_URL=url))
    assert "someone:***@127.0.0.1" in message
    assert "hunter2" not in message


def test_models_shows_what_the_file_means(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text('default = "a"\n' + MODEL + 'api_key_env = "SOME_KEY"\n')
    shown = switchboard(tmp_path, "models", SWITCHBOARD_MODELS=str(path), SOME_KEY="sesame").stdout
    assert "a (default)  A      openai    http://127.0.0.1:1/v1  8192     -      SOME_KEY is set" in shown
    assert "sesame" not in shown
    checked = switchboard(tmp_path, "models", "--check", SWITCHBOARD_MODELS=str(path))
    assert "SOME_KEY is not set  no" in checked.stdout
    assert "a: SOME_KEY is not set" in checked.stdout
    assert refused(checked) == "switchboard: 1 of 1 models did not answer: a\n"


def test_doctor_says_what_to_do_about_each_failing_part(tmp_path: Path) -> None:
    nowhere = f"redis://:hunter2@127.0.0.1:{_free_port()}/0"
    result = switchboard(
        tmp_path,
        "doctor",
        REDIS_URL=nowhere,
        PORT=str(_free_port()),
        FLOWER_PORT=str(_free_port()),
        SWITCHBOARD_LIMIT_COST_USER="5/d",
    )
    assert result.returncode == 1
    for line in ("✓ models ", "✗ model ", "✗ database ", "✗ redis ", "✗ broker ", "✗ web ", "✗ flower "):
        assert f"{line}" in result.stdout, result.stdout
    assert "! models     there is a budget in money, and no price of smollm2, smollm2-precise" in result.stdout
    assert "Run: switchboard migrate" in result.stdout
    assert "hunter2" not in result.stdout + result.stderr


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize("command", [("audit",), ("usage",), ("users", "list"), ("models",), ("doctor",), ("-h",)])
def test_an_output_that_can_not_be_written_is_one_line(
    tmp_path: Path, command: tuple[str, ...], database_url: str
) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [SWITCHBOARD, *command],
            cwd=tmp_path,
            env={**inherited, "SWITCHBOARD_MODELS": str(ROOT / "models.toml"), "DATABASE_URL": database_url},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == "switchboard: the output can't be written: No space left on device\n"
