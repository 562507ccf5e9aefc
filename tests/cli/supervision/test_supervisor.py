"""The supervisor, with small real processes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from cli.supervision import supervisor as module
from cli.supervision.children import ChildState
from cli.supervision.supervisor import Death, GaveUp, Program, Supervisor, next_delay

DEADLINE = 10.0


class Watched:
    """A supervisor, and what it has said."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lines: list[tuple[str, str]] = []
        self.deaths: list[Death] = []
        self.supervisor = Supervisor(
            directory, lambda name, line: self.lines.append((name, line)), self.deaths.append
        )

    def start(self, code: str, name: str = "child") -> None:
        """Run a piece of Python."""
        self.supervisor.start(Program(name, [sys.executable, "-c", code], dict(os.environ), self.directory))

    def start_program(self, path: Path) -> None:
        """Run a program under the name of its file."""
        self.supervisor.start(Program(path.name, [str(path)], dict(os.environ), self.directory))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.01)


def run(directory: Path, body: Callable[[Watched], Awaitable[None]]) -> Watched:
    """Run a test's body, and leave no child behind."""

    async def main() -> Watched:
        watched = Watched(directory)
        try:
            await body(watched)
        finally:
            await watched.supervisor.stop(grace=2)
            watched.supervisor.close()
        return watched

    return asyncio.run(main())


def test_the_delay_doubles_to_its_limit_and_starts_anew_after_a_long_life() -> None:
    delays = [0.0]
    for _ in range(9):
        delays.append(next_delay(delays[-1], lived=1))
    assert delays[1:] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert next_delay(30, lived=30) == 0.5


def test_output_goes_to_the_log_and_to_the_listener(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        watched.start(
            "import sys; print('out'); print('err', file=sys.stderr, flush=True); sys.stdin.read(); input()"
        )
        await watched.until(lambda: len(watched.lines) >= 2)

    watched = run(tmp_path, body)
    assert set(watched.lines[:2]) == {("child", "out"), ("child", "err")}
    assert {"out", "err"} <= set((tmp_path / "child.log").read_text().splitlines())


def test_a_child_that_dies_is_reported_and_started_again(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        watched.supervisor.settle()
        watched.start("import sys; print(*range(20), sep='\\n'); sys.exit(3)")
        await watched.until(lambda: len(watched.deaths) == 2)

    first, second = run(tmp_path, body).deaths[:2]
    assert (first.name, first.reason, first.restart_in) == ("child", "exit status 3", 0.5)
    assert list(first.last_lines) == [str(number) for number in range(10, 20)]
    assert second.restart_in == 1.0


def test_a_killed_child_gets_another_process(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        watched.start("import time; time.sleep(60)")
        await watched.until(lambda: watched.supervisor.pid("child"))
        first = watched.supervisor.pid("child")
        assert first
        os.kill(first, signal.SIGKILL)
        await watched.until(lambda: watched.supervisor.pid("child") not in (None, first))

    assert run(tmp_path, body).deaths[0].reason == "killed by SIGKILL"


def test_what_a_dead_child_forked_is_killed_before_the_restart(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        watched.start(
            "import os, subprocess, sys, time\n"
            "print(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
            "time.sleep(60)"
        )
        await watched.until(lambda: watched.lines)
        grandchild = psutil.Process(int(watched.lines[0][1]))
        os.kill(watched.supervisor.pid("child") or 0, signal.SIGKILL)
        await watched.until(lambda: len(watched.lines) == 2)  # the second life
        assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE

    run(tmp_path, body)


def test_a_stubborn_child_is_killed_with_its_group(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        watched.start(
            "import os, signal, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "child = os.fork()\n"
            "os.write(1, b'%d\\n' % os.getpid())\n"  # at once: two processes write
            "time.sleep(60)"
        )
        await watched.until(lambda: len(watched.lines) == 2)
        processes = [psutil.Process(int(line)) for _, line in watched.lines]
        began = time.monotonic()
        await watched.supervisor.stop(["child"], grace=0.3)
        assert 0.3 <= time.monotonic() - began < 2
        # The group's other process was sent the same signal, and is not waited for.
        await watched.until(lambda: not any(map(_runs, processes)))

    assert run(tmp_path, body).deaths == []


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_child_that_is_still_being_started_is_stopped(tmp_path: Path, turns: int) -> None:
    async def body(watched: Watched) -> None:
        watched.start("import time; time.sleep(60)")
        for _ in range(turns):
            await asyncio.sleep(0)
        began = time.monotonic()
        await watched.supervisor.stop(grace=5)
        assert time.monotonic() - began < 3

    assert run(tmp_path, body).deaths == []


def test_dying_again_and_again_while_starting_gives_the_start_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_RESTART_DELAY", 0.01)

    async def body(watched: Watched) -> None:
        watched.start("raise SystemExit(4)")
        with pytest.raises(GaveUp, match=r"child died 5 times while starting \(exit status 4\)"):
            async with asyncio.timeout(DEADLINE):
                await watched.supervisor.gave_up

    assert len(run(tmp_path, body).deaths) == 5


def test_a_program_that_dies_again_and_again_is_known_until_it_has_lived_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_RESTART_DELAY", 0.01)
    monkeypatch.setattr(module, "STEADY_AFTER", 0.5)
    mended = tmp_path / "mended"
    well: list[tuple[str, int]] = []
    told: list[dict[str, ChildState]] = []

    async def body(watched: Watched) -> None:
        supervisor = watched.supervisor
        supervisor.settle()
        supervisor.on_recovery = lambda name, deaths: well.append((name, deaths))
        supervisor.on_change = lambda: told.append(supervisor.states)
        watched.start(f"import os, time\nif os.path.exists({str(mended)!r}): time.sleep(60)\nraise SystemExit(1)")
        await watched.until(lambda: len(watched.deaths) == 4)
        assert supervisor.unsteady == ["child"]
        assert supervisor.states["child"].trouble == "dies again and again (4 times so far)"
        mended.touch()
        await watched.until(lambda: well)
        await watched.until(lambda: supervisor.states["child"].trouble is None)

    watched = run(tmp_path, body)
    assert well == [("child", len(watched.deaths))]
    assert [death.deaths for death in watched.deaths] == list(range(1, len(watched.deaths) + 1))
    assert told[0].keys() == {"child"}
    assert told[-1]["child"].deaths == 0


def test_a_program_is_down_when_its_process_is_not_there() -> None:
    assert ChildState(os.getpid(), deaths=2).trouble is None
    assert ChildState(None, deaths=0).trouble == "is down"
    gone = psutil.Popen(["true"])
    gone.wait()
    assert ChildState(gone.pid, deaths=0).trouble == "is down"


def test_a_command_that_does_not_exist_gives_the_start_up_at_once(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        watched.supervisor.start(Program("ghost", ["/no/such/program"], {}, tmp_path))
        with pytest.raises(GaveUp, match="ghost: /no/such/program: No such file or directory"):
            async with asyncio.timeout(DEADLINE):
                await watched.supervisor.gave_up

    run(tmp_path, body)


def test_nothing_survives_a_killed_supervisor(tmp_path: Path) -> None:
    """Neither the child nor what it forked; the watchdog sees to both."""
    child = "import os, time; os.fork(); os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)"
    parent = (
        "import asyncio, os, sys; from pathlib import Path; from cli.supervision.supervisor import *\n"
        "async def main():\n"
        "    supervisor = Supervisor(Path(sys.argv[1]), lambda name, line: print(line, flush=True), print)\n"
        "    supervisor.start(Program('child', [sys.executable, '-c', sys.argv[2]], dict(os.environ), Path('.')))\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    supervisor = psutil.Popen([sys.executable, "-c", parent, str(tmp_path), child], stdout=-1)
    assert supervisor.stdout is not None
    processes = [psutil.Process(int(supervisor.stdout.readline())) for _ in range(2)]
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    deadline = time.monotonic() + DEADLINE
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
        assert time.monotonic() < deadline
        time.sleep(0.01)
