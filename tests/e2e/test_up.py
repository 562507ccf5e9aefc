"""`switchboard up`, for real: it comes up whole, keeps what it was given, and leaves nothing behind."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.e2e.system import STOP_TIME, System, running

SWITCHBOARD = Path(sys.executable).with_name("switchboard")


@pytest.fixture
def own_system(tmp_path: Path) -> Iterator[System]:
    """A system that a test may stop and kill. It has no model server, which takes most of the time."""
    models = tmp_path / "models.toml"
    models.write_text(
        'default = "away"\n[models.away]\nlabel = "Away"\nprovider = "openai"\nmodel = "away"\n'
        'base_url = "http://127.0.0.1:1/v1"\n'
    )
    with running(tmp_path / "state", SWITCHBOARD_MODELS=str(models)) as system:
        yield system


def get(url: str, **options: object) -> httpx2.Response:
    return httpx2.get(url, timeout=10, trust_env=False, **options)  # type: ignore[arg-type]


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_every_part_answers(system: System) -> None:
    assert get(f"{system.base_url}/readyz").status_code == 200
    assert get(f"{system.flower_url}/healthcheck").status_code == 200
    for part in ("settings", "valkey", "database", "model", "web", "workers", "flower"):
        assert f"✓ {part} " in system.output


def test_doctor_in_another_shell_finds_every_part_well(system: System) -> None:
    result = subprocess.run(
        [SWITCHBOARD, "doctor"],
        env={"PATH": os.defpath, "SWITCHBOARD_STATE_DIR": str(system.state_dir)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "✗" not in result.stdout


def test_a_second_start_on_the_same_state_is_refused(system: System) -> None:
    result = subprocess.run(
        [SWITCHBOARD, "up"], env=system.environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 1
    assert f"(pid {system.process.pid})" in result.stderr


def test_flower_shows_and_does_nothing(system: System) -> None:
    workers = get(f"{system.flower_url}/workers?json=1").json()["data"]
    assert {worker["hostname"].partition("@")[0] for worker in workers} == {"worker", "chat"}
    answer = httpx2.post(
        f"{system.flower_url}/api/worker/shutdown/{workers[0]['hostname']}", timeout=10, trust_env=False
    )
    assert answer.status_code in (401, 403)


def test_what_it_writes_is_private(system: System) -> None:
    for path in [system.state_dir, *system.state_dir.rglob("*")]:
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize(
    ("name", "fragment"), [("chat", "--queues chat"), ("web", "gunicorn"), ("valkey", "valkey-server")]
)
def test_a_killed_child_is_reported_and_started_again(system: System, name: str, fragment: str) -> None:
    killed = system.child(fragment)
    assert killed
    killed.kill()
    system.until(lambda: f"{name} ended (killed by SIGKILL" in system.output)
    system.until(lambda: system.child(fragment) not in (None, killed))
    system.until(system.ready)


def test_sessions_survive_a_restart_and_nothing_else_does(own_system: System) -> None:
    with httpx2.Client(base_url=own_system.base_url, timeout=10, trust_env=False) as client:
        created = client.post("/session/create", json={}).json()
        before = own_system.processes()
        assert own_system.stop() == 0
        assert still_running(before) == []
        assert not (own_system.state_dir / "runtime.json").exists()
        own_system.start()
        current = client.get("/session/current")
        assert current.status_code == 200
        assert current.json()["session_id"] == created["session_id"]


def test_a_killed_system_takes_everything_along_and_does_not_block_the_next(own_system: System) -> None:
    before = own_system.processes()
    assert own_system.stop(signal.SIGKILL) == -signal.SIGKILL
    own_system.until(lambda: not still_running(before), STOP_TIME)
    own_system.start()
    assert own_system.ready()


def test_ctrl_c_stops_it_and_a_stubborn_child_does_not_keep_it(own_system: System) -> None:
    own_system.suspend("celery.*beat")  # deaf to SIGTERM
    before = own_system.processes()
    assert own_system.stop(signal.SIGINT) == 0
    assert still_running(before) == []


def test_a_second_ctrl_c_ends_it_at_once(own_system: System) -> None:
    own_system.suspend("celery.*beat")
    own_system.process.send_signal(signal.SIGINT)
    own_system.until(lambda: own_system.child("gunicorn") is None)
    own_system.process.send_signal(signal.SIGINT)
    assert own_system.process.wait(timeout=3) == 0
