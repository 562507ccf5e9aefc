"""No place on the disk, no terminal any more: the children go on, and what is lost is counted."""

import errno
import os
import pty
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.console import MAX_PENDING_LINES, Console
from cli.supervision.child_log import ChildLog
from cli.supervision.state_directory import StateDirectory
from tests.cli.supervision.test_state_directory import RUNNING
from tests.cli.supervision.test_supervisor import Watched, run
from tests.support.full_disk import SmallDisk, small_disk
from tests.support.waiting import wait_for

MISSING = "(lines missing here, which could not be"
TALKER = "import sys\nfor n in range(5000): print(n, 'x' * 80)\nprint('said all', flush=True)\nsys.stdin.read()"
"""More than any pipe holds: a process whose output is not read blocks in the middle of it."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of a few pages."""
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


def test_a_full_disk_loses_lines_and_says_how_many_when_there_is_place_again(disk: SmallDisk) -> None:
    log = ChildLog(disk.path / "web.log")
    log.write("before")
    disk.fill()
    # Whatever is left of the file's own page is used, to the middle of a line.
    for number in range(100):
        log.write(f"{number:03} " + "x" * 100)
    lost = log.lost
    assert 50 < lost < 100
    disk.free()
    log.write("after")
    log.close()
    lines = (disk.path / "web.log").read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-2:] == [f"{MISSING} written: {lost})", "after"]
    assert len([line for line in lines if len(line) == 104]) == 100 - lost


def test_a_disk_that_is_full_from_the_first_line_is_no_other(disk: SmallDisk) -> None:
    disk.fill()
    log = ChildLog(disk.path / "web.log")
    log.write("lost")
    disk.free()
    log.write("after")
    log.close()
    assert (disk.path / "web.log").read_text() == f"{MISSING} written: 1)\nafter\n"


def test_a_log_that_can_not_turn_over_stays_within_its_bound(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "web.log", limit=200)
    (tmp_path / "web.log.1").mkdir()  # no file can take its place
    for number in range(60):
        log.write(f"line {number}")
    assert (tmp_path / "web.log").stat().st_size < 210
    (tmp_path / "web.log.1").rmdir()
    log.write("after")
    log.close()
    assert (tmp_path / "web.log").read_text() == f"{MISSING} written: {60 - 27})\nafter\n"


def test_the_child_goes_on_and_is_started_again_when_it_dies(disk: SmallDisk) -> None:
    async def body(watched: Watched) -> None:
        watched.supervisor.settle()
        disk.fill()
        watched.start(TALKER.replace("sys.stdin.read()", "sys.exit(5)"))
        await watched.until(lambda: len(watched.deaths) == 2)

    watched = run(disk.path, body)
    assert watched.lines.count(("child", "said all")) >= 2
    assert {death.reason for death in watched.deaths} == {"exit status 5"}


def test_a_listener_that_fails_ends_neither_a_pump_nor_a_keeper(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.EIO, "the terminal is gone")

        supervisor = watched.supervisor
        supervisor.settle()
        supervisor.on_line, supervisor.on_death, supervisor.on_change = fail, fail, fail
        watched.start(TALKER.replace("sys.stdin.read()", "sys.exit(5)"))
        await watched.until(lambda: supervisor.states["child"].deaths == 2)

    run(tmp_path, body)
    assert (tmp_path / "child.log").read_text().count("said all") == 2


def test_a_line_that_never_ends_is_passed_on_in_pieces(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        watched.start("import sys\nwhile True: sys.stdout.write('x' * 1000)")
        await watched.until(lambda: len(watched.lines) > 20)

    watched = run(tmp_path, body)
    assert max(len(line) for _, line in watched.lines) <= 128 * 1024


def test_what_can_not_be_started_is_tried_again_once_the_system_runs(tmp_path: Path) -> None:
    program = tmp_path / "program"

    async def body(watched: Watched) -> None:
        watched.start("import time; time.sleep(60)", name="another")
        watched.supervisor.settle()
        program.write_text(f"#!{sys.executable}\nprint('here', flush=True)\nimport time; time.sleep(60)")
        watched.start_program(program)  # not executable yet
        await watched.until(lambda: watched.deaths)
        assert watched.deaths[0].reason == "it can't be started: Permission denied"
        program.chmod(0o700)
        await watched.until(lambda: ("program", "here") in watched.lines)

    run(tmp_path, body)


def _lines(read: int, count: int) -> list[str]:
    data = b""
    while data.count(b"\n") < count:
        data += os.read(read, 65536)
    return data.decode().splitlines()


def test_a_pipe_that_nobody_reads_holds_nobody_up() -> None:
    read, write = os.pipe()
    console = Console(descriptor=write)
    for _ in range(5 * MAX_PENDING_LINES):
        console.line("x" * 200)
    lines: list[str] = []
    reading = threading.Thread(target=lambda: lines.extend(_lines(read, MAX_PENDING_LINES)))
    reading.start()
    wait_for(lambda: not reading.is_alive() or len(lines) >= MAX_PENDING_LINES, what="what was kept is shown")
    console.line("after")
    console.close()
    os.close(write)
    shown = lines + _lines(read, 0)
    with os.fdopen(read) as rest:
        shown += rest.read().splitlines()
    assert [line for line in shown if MISSING in line]
    assert shown[-1] == "after"
    lost = sum(int(line.rstrip(")").split()[-1]) for line in shown if MISSING in line)
    assert shown.count("x" * 200) + lost == 5 * MAX_PENDING_LINES


def test_a_full_disk_behind_the_console_is_survived_and_counted(disk: SmallDisk) -> None:
    with (disk.path / "output").open("wb", buffering=0) as output:
        console = Console(descriptor=output.fileno())
        disk.fill()
        for _ in range(100):
            console.line("x" * 100)
        console.line("last")
        wait_for(lambda: console.pending == 0, what="all have been tried")
        disk.free()
        console.line("after")
        console.close()
    assert (disk.path / "output").read_text().splitlines()[-1] == "after"
    assert MISSING in (disk.path / "output").read_text().splitlines()[-2]


@pytest.mark.parametrize("end", ["closed", "reader gone", "terminal gone"])
def test_an_output_that_is_gone_silences_it_and_stops_nothing(end: str) -> None:
    read, write = pty.openpty() if end == "terminal gone" else os.pipe()
    console = Console(descriptor=write)
    os.close(read if end != "closed" else write)
    for _ in range(10):
        console.line("nobody hears this")
    console.close()
    os.close(write if end != "closed" else read)


def test_the_runtime_file_of_before_stands_when_there_is_no_place_for_another(disk: SmallDisk) -> None:
    state = StateDirectory(disk.path)
    state.prepare()
    with state.exclusive():
        state.write_runtime(RUNNING)
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            state.write_runtime(RUNNING)
        assert state.read_runtime() == RUNNING
    with state.exclusive():
        pass  # the lock's own line does not fit, and that is all
    state.remove_runtime()


def test_a_watchdog_that_was_killed_is_replaced(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        first = watched.supervisor._watchdog
        first.kill()
        first.wait()
        watched.start("import time; time.sleep(60)")
        await watched.until(lambda: watched.supervisor.pid("child"))
        assert watched.supervisor._watchdog.pid != first.pid
        assert watched.supervisor._watchdog.poll() is None

    run(tmp_path, body)
