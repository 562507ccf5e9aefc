"""Whole processes that are started with a mistake: each ends with the line that names it."""

import http.server
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.supervision.procfile import read_procfile
from tests.cli.test_commands import MODEL, OURS, ROOT, SWITCHBOARD, refused, switchboard
from tests.support.valkey import Valkey

SCHEME_MISSING = "switchboard: REDIS_URL=localhost:6379: it begins with none of redis://, "


@pytest.fixture(scope="module")
def web_server() -> Iterator[str]:
    """The address of one, which is no Redis."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def started(name: str, directory: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A line of the Procfile, run as process managers run it."""
    inherited = {variable: value for variable, value in os.environ.items() if not variable.startswith(OURS)}
    return subprocess.run(
        ["sh", "-c", f"exec {shlex.join(read_procfile(ROOT / 'Procfile')[name])}"],
        cwd=ROOT,
        env={
            **inherited,
            "PATH": f"{SWITCHBOARD.parent}{os.pathsep}{os.environ['PATH']}",
            "SWITCHBOARD_STATE_DIR": str(directory),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def last_line(result: "subprocess.CompletedProcess[str]") -> str:
    """What a process that can't run says last."""
    assert result.returncode == 1, result
    assert "Traceback" not in result.stdout + result.stderr
    assert "hunter2" not in result.stdout + result.stderr
    return result.stderr.strip().splitlines()[-1]


def test_a_setting_is_named_by_the_web_server(tmp_path: Path) -> None:
    assert last_line(started("web", tmp_path, REDIS_URL="localhost:6379")).startswith(SCHEME_MISSING)


def test_a_store_is_named_by_a_worker(tmp_path: Path, web_server: str) -> None:
    line = last_line(started("chat", tmp_path, REDIS_URL=f"redis://:hunter2@{web_server}/0"))
    assert line == (
        f"switchboard: REDIS_URL=redis://:***@{web_server}/0: a web server answers there, no Redis; correct the port"
    )


def test_up_names_them_and_starts_nothing(tmp_path: Path, web_server: str) -> None:
    message = refused(switchboard(tmp_path, "up", BROKER_URL=f"redis://{web_server}"))
    assert f"BROKER_URL=redis://{web_server}" in message
    assert "a web server answers there" in message
    assert not (tmp_path / ".switchboard" / "switchboard.db").exists()


def test_a_model_server_without_a_model_ends_well(tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    models.write_text('default = "a"\n' + MODEL)
    result = started("model", tmp_path, SWITCHBOARD_MODELS=str(models))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "no model of models.toml has weights: there is nothing to serve\n"


def test_a_redis_user_that_may_not_use_the_brokers_keys_is_told_so_by_the_doctor(
    tmp_path: Path, own_valkey: Valkey
) -> None:
    client = own_valkey.client()
    client.execute_command("ACL", "SETUSER", "app", "on", ">hunter2", "+@all", "~sb:*", "&*")
    client.close()
    url = own_valkey.url.replace("unix://", "unix://app:hunter2@")
    told = switchboard(tmp_path, "doctor", REDIS_URL=url).stdout
    broker = told.partition("✗ broker ")[2].splitlines()
    assert "No permissions to access a key" in broker[0]
    assert broker[1].strip() == "Allow it all: ACL SETUSER <user> +@all ~* &*"
    assert "hunter2" not in told
