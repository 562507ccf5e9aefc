"""`switchboard up`, for real: it comes up whole, keeps what it was given, and leaves nothing behind."""

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import psutil
import pytest

from tests.e2e.system import ROOT, START_TIME, STOP_TIME, System, running
from tests.support.full_disk import SmallDisk, small_disk
from tests.support.waiting import wait_for

SWITCHBOARD = Path(sys.executable).with_name("switchboard")


UP_ELSEWHERE = (
    "import sys; from pathlib import Path; import cli.up; cli.up.PROJECT = Path(sys.argv[1]); "
    "from cli.main import main; main(['up'])"
)


def models_away(directory: Path) -> Path:
    """A models.toml without a model server, which takes most of the time of a start."""
    path = directory / "models.toml"
    path.write_text(
        'default = "away"\n[models.away]\nlabel = "Away"\nprovider = "openai"\nmodel = "away"\n'
        'base_url = "http://127.0.0.1:1/v1"\n'
    )
    return path


@pytest.fixture
def own_system(tmp_path: Path) -> Iterator[System]:
    """A system that a test may stop and kill."""
    with running(tmp_path / "state", SWITCHBOARD_MODELS=str(models_away(tmp_path))) as system:
        yield system


class Cramped(NamedTuple):
    """A system in an oddly named directory, with its logs and what it says on a disk that can be filled."""

    system: System
    disk: SmallDisk

    @property
    def output(self) -> str:
        """What `up` has said."""
        return (self.disk.path / "output").read_text()

    def kill(self, pattern: str, after: int = 0) -> int:
        """Kill a child, when it is another than `after`; give its process id."""
        self.system.until(lambda: (child := self.system.child(pattern)) and child.pid != after)
        child = self.system.child(pattern)
        assert child
        child.kill()
        return int(child.pid)


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cramped]:
    """One for all tests that it survives. Valkey and SQLite are elsewhere: they have troubles of their own there."""
    directory = tmp_path_factory.mktemp("odd")
    state = directory / "a #1?db=2 100%25 @home ключ;é&x=y+z"
    state.mkdir()
    # What an older beat has left behind, cut short by a full disk.
    (state / "beat-schedule.dat").touch()
    (state / "beat-schedule").touch()
    odd = {"FLOWER_ADDRESS": "127.0.0.2", "FLOWER_URL_PREFIX": "/ops/flower"}
    system = System(state, SWITCHBOARD_MODELS=str(models_away(directory)), **odd)
    system.flower_url = f"{system.flower_url.replace('127.0.0.1', '127.0.0.2')}/ops/flower"
    with small_disk(tmp_path_factory.mktemp("small") / "disk") as disk, (disk.path / "output").open("ab") as output:
        (state / "logs").symlink_to(disk.path)
        system.process = psutil.Popen(
            ["sh", "-c", f'ulimit -S -n 256; exec "{SWITCHBOARD}" up'],
            cwd=ROOT,
            env=system.environment,
            stdout=output,
            stderr=output,
        )
        cramped = Cramped(system, disk)
        try:
            system.until(lambda: "Ready in" in cramped.output, START_TIME)
            yield cramped
            assert system.stop() == 0
        finally:
            system.kill()


def get(url: str, **options: object) -> httpx2.Response:
    return httpx2.get(url, timeout=10, trust_env=False, **options)  # type: ignore[arg-type]


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_every_part_answers(system: System) -> None:
    assert get(f"{system.base_url}/readyz").status_code == 200
    assert get(f"{system.flower_url}/healthcheck").status_code == 200
    for part in ("settings", "valkey", "database", "model", "web", "workers", "flower"):
        assert f"✓ {part} " in system.output


def doctor(system: System) -> "subprocess.CompletedProcess[str]":
    """What `doctor` says in another shell, which knows the state directory only."""
    return subprocess.run(
        [SWITCHBOARD, "doctor"],
        env={"PATH": os.defpath, "SWITCHBOARD_STATE_DIR": str(system.state_dir)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_doctor_in_another_shell_finds_every_part_well(system: System) -> None:
    result = doctor(system)
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
    assert {worker["hostname"].partition("-")[0] for worker in workers} == {"worker", "chat"}
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


def test_a_new_database_takes_over_what_the_embedded_redis_holds(own_system: System) -> None:
    assert own_system.stop() == 0
    for path in own_system.state_dir.glob("switchboard.db*"):
        path.unlink()
    own_system.start()
    found = doctor(own_system).stdout
    assert "✓ redis " in found
    assert "another installation" not in found


def test_a_killed_system_takes_everything_along_and_does_not_block_the_next(own_system: System) -> None:
    before = own_system.processes()
    assert own_system.stop(signal.SIGKILL) == -signal.SIGKILL
    own_system.until(lambda: not still_running(before), STOP_TIME)
    own_system.start()
    assert own_system.ready()


def test_a_state_directory_may_be_called_whatever_one_likes(cramped: Cramped) -> None:
    system, state = cramped.system, cramped.system.state_dir
    assert not list(state.glob("beat-schedule*")), "whose remains would keep Celery's usual scheduler from starting"
    assert {path.name for path in state.iterdir()} >= {"switchboard.db", "valkey", "logs", "runtime.json"}
    assert {path.name for path in state.parent.iterdir()} == {state.name, "models.toml"}
    found = doctor(system).stdout
    for part in ("database", "redis", "broker", "schedule", "web", "flower"):
        assert f"✓ {part} " in found, found
    # Flower shows the queues of the workers that have answered when it last asked them, at its start perhaps not all.
    numbers = [rf"<td>{queue}</td>\s*<td[^>]*>\s*\d" for queue in ("sessions", "chat", "maintenance")]

    def all_numbers() -> bool:
        get(f"{system.flower_url}/workers?refresh=1")
        page = get(f"{system.flower_url}/broker").text
        return all(re.search(number, page) for number in numbers)

    wait_for(all_numbers, seconds=30, what="Flower reads the broker's queues")


def test_a_child_that_dies_again_and_again_is_named_here_and_by_doctor(cramped: Cramped) -> None:
    system, killed = cramped.system, 0
    for _ in range(3):
        killed = cramped.kill("switchboard beat", after=killed)
    system.until(lambda: "beat dies again and again (3 times so far" in cramped.output)
    assert "expired sessions are not swept" in cramped.output
    assert cramped.output.count("beat dies again and again") == 1
    found = doctor(system)
    assert found.returncode == 1
    assert "✗ process    beat dies again and again (3 times so far)" in found.stdout


def test_it_runs_on_when_the_disk_of_its_logs_and_its_output_is_full(cramped: Cramped) -> None:
    cramped.disk.fill()
    for name in ("output", "web.log"):
        cramped.disk.pad(name)
    cramped.kill("gunicorn", after=cramped.kill("gunicorn"))
    cramped.system.until(cramped.system.ready)
    cramped.disk.free()
    cramped.kill("gunicorn")
    cramped.system.until(lambda: "(lines missing here, which could not be shown: " in cramped.output)
    cramped.system.until(cramped.system.ready)


def test_a_start_in_which_a_child_can_not_live_is_none(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("web", "core", "workers", "broker", "celery_config.py"):
        (project / name).symlink_to(ROOT / name)
    commands = (ROOT / "Procfile").read_text().splitlines()
    others = [line for line in commands if not line.startswith("beat:")]
    (project / "Procfile").write_text("\n".join([*others, 'beat: sh -c "sleep 1; exit 3"\n']))
    system = System(tmp_path / "state", SWITCHBOARD_MODELS=str(models_away(tmp_path)))
    result = subprocess.run(
        [sys.executable, "-c", UP_ELSEWHERE, str(project)],
        env=system.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "beat died 5 times while starting (exit status 3)" in result.stderr
    assert result.returncode == 1
    assert "Ready in" not in result.stdout


def test_it_raises_its_processes_limit_of_open_files(cramped: Cramped) -> None:
    _, hard = cramped.system.process.rlimit(psutil.RLIMIT_NOFILE)
    cramped.system.until(lambda: cramped.system.child("gunicorn"))
    web = cramped.system.child("gunicorn")
    assert web
    assert web.rlimit(psutil.RLIMIT_NOFILE)[0] == hard


def test_ctrl_c_stops_it_and_a_stubborn_child_does_not_keep_it(own_system: System) -> None:
    own_system.suspend("switchboard beat")  # deaf to SIGTERM
    before = own_system.processes()
    assert own_system.stop(signal.SIGINT) == 0
    assert still_running(before) == []


def test_a_second_ctrl_c_ends_it_at_once(own_system: System) -> None:
    own_system.suspend("switchboard beat")
    own_system.process.send_signal(signal.SIGINT)
    own_system.until(lambda: own_system.child("gunicorn") is None)
    own_system.process.send_signal(signal.SIGINT)
    assert own_system.process.wait(timeout=3) == 0
