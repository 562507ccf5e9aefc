"""`switchboard alive`, asked of real processes: two workers that one line of the Procfile has started, and beat."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event as Flag

import pytest
from click.testing import CliRunner, Result

from celery_config import QueueNames
from cli.alive import DEFAULT, VARIABLE
from cli.main import main
from core.messaging.consumers import Presence
from core.operations.liveness import WRITING_LIMIT, Liveness, read_lives
from core.operations.preflight.environment import variable_of
from core.settings import Settings
from tests.support.procfile import procfile_command
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.workers.local_process import OPTIONS, ROOT

EARLY = 60.0
"""Seconds within which a process starts, on a machine that is busy."""


@contextmanager
def procfile_line(name: str, directory: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process as the Procfile has it, until the end of the block at the latest."""
    inherited = {variable: value for variable, value in os.environ.items() if not OPTIONS.match(variable)}
    with (directory / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            procfile_command(name),
            cwd=directory,
            env={
                **inherited,
                "PYTHONPATH": str(ROOT),
                **environment,
            },
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def alive(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["alive", *arguments], env={"SWITCHBOARD_STATE_DIR": str(directory)})


def lives(directory: Path, *arguments: str) -> bool:
    return alive(directory, *arguments).exit_code == 0


def test_two_workers_of_a_kind_are_two(own_valkey: Valkey, database_url: str, tmp_path: Path) -> None:
    environment = {
        "REDIS_URL": own_valkey.url,
        "DATABASE_URL": database_url,
        "SWITCHBOARD_MODELS": str(ROOT / "models.toml"),
        "SWITCHBOARD_STATE_DIR": str(tmp_path),
    }
    presence = Presence(own_valkey.client())

    def counted(queue: str, number: int) -> bool:
        return presence.counts([queue])[queue] == number

    with ExitStack() as stack:
        one, other = (stack.enter_context(procfile_line("chat", tmp_path, **environment)) for _ in range(2))
        wait_for(lambda: counted(QueueNames.CHAT, 2), seconds=EARLY, what="both consume")
        both = f"alive: {', '.join(f'chat {process.pid}' for process in sorted((one, other), key=_pid))}\n"
        wait_for(lambda: sorted(alive(tmp_path, "chat").output) == sorted(both), what="both live")
        # A broker that is away ends neither.
        own_valkey.stop()
        assert lives(tmp_path, "chat", "--pid", str(one.pid))
        own_valkey.start()
        wait_for(lambda: counted(QueueNames.CHAT, 2), seconds=EARLY, what="both consume again")
        # One that stops is gone at once, and takes the other not along.
        one.terminate()
        assert one.wait(EARLY) == 0
        assert counted(QueueNames.CHAT, 1)
        assert alive(tmp_path, "chat").output == f"alive: chat {other.pid}\n"
        gone = alive(tmp_path, "chat", "--pid", str(one.pid))
        assert (gone.exit_code, gone.output.startswith(f"switchboard: chat {one.pid} is not alive: ")) == (1, True)
        # One that is frozen has its id, and does not live.
        other.send_signal(signal.SIGSTOP)
        (frozen,) = read_lives(tmp_path, "chat")
        assert frozen.stuck(time.monotonic()) is None
        assert "its process has not turned for" in str(frozen.stuck(time.monotonic() + WRITING_LIMIT))
        assert {"consumer", "thread pool", "event loop"} < set(frozen.turned)


def _pid(process: "subprocess.Popen[bytes]") -> int:
    return process.pid


def test_beat_lives_without_its_broker(tmp_path: Path) -> None:
    environment = {"REDIS_URL": "redis://127.0.0.1:1", "SWITCHBOARD_STATE_DIR": str(tmp_path)}
    with procfile_line("beat", tmp_path, **environment) as beat:
        wait_for(lambda: lives(tmp_path, "beat"), seconds=EARLY, what="it lives")
        (life,) = read_lives(tmp_path, "beat")
        assert (life.pid, "scheduler" in life.turned) == (beat.pid, True)
        assert not lives(tmp_path, "worker")
        beat.kill()
        beat.wait()
        assert "none runs" in alive(tmp_path, "beat").output


def test_a_part_that_stands_still_is_named(tmp_path: Path) -> None:
    liveness = Liveness()
    turns = Flag()

    def turn(turned: Callable[[], None]) -> None:
        turned()
        turns.set()

    liveness.expect("thread pool", 5.0, lambda turned: None)
    liveness.expect("event loop", 5.0, turn)
    liveness.start("worker", tmp_path)
    assert turns.wait(EARLY)
    (life,) = read_lives(tmp_path, "worker")
    stands, _ = life.turned["thread pool"]
    assert life.stuck(stands + 4.9) is None

    def found() -> str | None:
        return next(read_lives(tmp_path, "worker")).stuck(stands + 5.1)

    wait_for(lambda: found() == "its thread pool has not turned for 5 s", what="only the other turns")


def test_the_directory_is_that_of_the_settings() -> None:
    (option,) = (name for name in Settings.model_fields if variable_of(name) == VARIABLE)
    assert getattr(Settings(), option) == Path(DEFAULT)


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        Liveness().start("worker", tmp_path)
        assert [systemd.recv(64) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]


def test_a_process_whose_file_was_tidied_away_is_known_again(tmp_path: Path) -> None:
    Liveness().start("worker", tmp_path)
    (life,) = read_lives(tmp_path, "worker")
    shutil.rmtree(tmp_path / "alive")
    assert list(read_lives(tmp_path, "worker")) == []
    wait_for(lambda: [each.pid for each in read_lives(tmp_path, "worker")] == [life.pid], what="it is known again")
