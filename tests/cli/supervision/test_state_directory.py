"""The state directory's lock and its runtime file."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cli.console import CommandError
from cli.supervision.state_directory import RunningSystem, StateDirectory
from cli.supervision.valkey import MAX_SOCKET_PATH, socket_path
from tests.cli.test_commands import switchboard
from tests.support.full_disk import small_disk

RUNNING = RunningSystem(
    pid=1,
    configured_redis_url="unix:///tmp/valkey.sock",
    configured_broker_url=None,
    configured_database_url="sqlite:////tmp/switchboard.db",
    host="127.0.0.1",
    port=8000,
    flower_port=5555,
    model_url="http://127.0.0.1:8081/v1",
)
HOLDER = (
    "import sys; from pathlib import Path; from cli.supervision.state_directory import StateDirectory\n"
    "with StateDirectory(Path(sys.argv[1])).exclusive(): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state")
    directory.prepare()
    return directory


def test_it_is_its_owners_only(state: StateDirectory) -> None:
    for path in (state.path, state.logs, state.valkey):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_second_holder_is_told_who_the_first_is(state: StateDirectory) -> None:
    with (
        state.exclusive(),
        pytest.raises(CommandError, match=rf"already running .* \(pid {os.getpid()}\)"),
        state.exclusive(),
    ):
        pass


def test_the_lock_of_a_killed_holder_does_not_block(state: StateDirectory) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with state.exclusive():
        pass


def test_the_runtime_file_is_private_and_read_back(state: StateDirectory) -> None:
    with state.exclusive():
        state.write_runtime(RUNNING)
        assert state.read_runtime() == RUNNING
        assert stat.S_IMODE((state.path / "runtime.json").stat().st_mode) == 0o600
        state.remove_runtime()
        assert state.read_runtime() is None


def test_the_runtime_file_of_a_killed_run_is_not_believed(state: StateDirectory) -> None:
    state.write_runtime(RUNNING)
    assert state.read_runtime() is None


def test_a_place_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=r"^SWITCHBOARD_STATE_DIR=.*file is no directory; "):
        StateDirectory(tmp_path / "file" / "state").prepare()


def test_a_path_too_long_for_a_socket_gets_a_private_directory(tmp_path: Path) -> None:
    with socket_path(tmp_path) as near:
        assert near.parent == tmp_path
    with socket_path(tmp_path / ("x" * MAX_SOCKET_PATH)) as far:
        assert len(bytes(far)) < MAX_SOCKET_PATH
        assert stat.S_IMODE(far.parent.stat().st_mode) == 0o700
    assert not far.parent.exists()


def test_a_directory_of_another_user_is_refused(state: StateDirectory) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives directories away")
    os.chown(state.path, 4242, 4242)
    with pytest.raises(CommandError) as refused:
        state.prepare()
    said = f"SWITCHBOARD_STATE_DIR={state.path}: it belongs to uid 4242, and this is root (uid 0); start as uid 4242"
    assert refused.value.message.startswith(said)


def test_one_that_can_not_be_made_is_refused() -> None:
    with pytest.raises(CommandError, match=r"^SWITCHBOARD_STATE_DIR=/proc/switchboard: it can't be made: "):
        StateDirectory(Path("/proc/switchboard")).prepare()


@pytest.mark.parametrize("lack", ["is full", "has no inode left"])
def test_a_full_disk_is_said_to_be(lack: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m", inodes=50) as disk:
        state = StateDirectory(disk.path / "state")
        state.prepare()
        assert state.full() is None
        if lack == "is full":
            disk.fill()
        else:
            disk.fill_inodes()
        assert state.full() == f"the disk of {disk.path / 'state'} {lack}"
        environment = {"SWITCHBOARD_STATE_DIR": str(disk.path / "state")}
        told = switchboard(tmp_path, "doctor", **environment).stdout
        assert f"✗ state      the disk of {disk.path / 'state'} {lack}\n" in told
