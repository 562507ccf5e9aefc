"""Child processes: started, watched, restarted when they die, and stopped in good time.

Everything runs on one asyncio loop in the main thread: the kernel's parent-death signal is sent when the
*thread* that started a child ends, so only a thread that lives as long as the process may start children.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.child_log import ChildLog

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
"""Seconds before a restart: the first, and the most after doubling."""
SETTLED = 30.0
"""Seconds of life after which a death counts as the first one again."""
STARTUP_DEATHS = 5
"""How often a program may die while the system starts before the start is given up."""
GRACE = 7.0
"""Seconds between SIGTERM and SIGKILL."""
LAST_LINES = 10
LONGEST_LINE = 64 * 1024

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    """What to run, where, and with which environment."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path


@dataclass(frozen=True)
class Death:
    """A child that ended without being asked to."""

    name: str
    status: int
    lived: float
    last_lines: Sequence[str]
    restart_in: float

    @property
    def reason(self) -> str:
        """The exit status in words."""
        if self.status >= 0:
            return f"exit status {self.status}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-self.status).name}"
        return f"killed by signal {-self.status}"


class GaveUp(Exception):
    """A program can't be started, or died again and again while the system started."""


def next_delay(previous: float, lived: float) -> float:
    """Seconds until the next restart, from the delay before this life (0 for the first) and its length."""
    if previous == 0 or lived >= SETTLED:
        return FIRST_DELAY
    return min(previous * 2, LONGEST_DELAY)


class Supervisor:
    """The running children.

    `on_line(name, line)` is called with each line of output and `on_death` with each Death, on the loop.
    `lock` is a file descriptor that the watchdog keeps open until no child is left.
    """

    def __init__(
        self,
        logs: Path,
        on_line: Callable[[str, str], None],
        on_death: Callable[[Death], None],
        lock: int | None = None,
    ) -> None:
        self.logs = logs
        self.on_line = on_line
        self.on_death = on_death
        self.starting = True
        self.gave_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises GaveUp when the system can't start."""
        self._children: dict[str, _Child] = {}
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("watchdog.py"))],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )

    def start(self, program: Program) -> None:
        """Start a program and keep it running until it is stopped."""
        self._children[program.name] = _Child(program, self)

    def settle(self) -> None:
        """The system is up: from here on a program that dies is restarted for ever."""
        self.starting = False

    def pid(self, name: str) -> int | None:
        """The process id of a program, or None while it is not running."""
        return self._children[name].pid

    async def stop(self, names: Iterable[str] | None = None, grace: float = GRACE) -> None:
        """Stop these programs, or all, side by side: SIGTERM, then SIGKILL to the groups after `grace`."""
        chosen = list(self._children) if names is None else [name for name in names if name in self._children]
        await asyncio.gather(*(self._children[name].stop(grace) for name in chosen))
        for name in chosen:
            del self._children[name]

    def kill(self) -> None:
        """End every child at once."""
        for child in self._children.values():
            child.kill()

    def close(self) -> None:
        """End the watchdog, and with it whatever is left."""
        self._watchdog.communicate(timeout=5)

    def watch(self, group: int) -> None:
        """Tell the watchdog of a new process group."""
        self._tell(f"+{group}\n")

    def unwatch(self, group: int) -> None:
        """Tell the watchdog that a group is gone, before the kernel can give its number to another."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        assert self._watchdog.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._watchdog.stdin.write(line.encode())
            self._watchdog.stdin.flush()


class _Child:
    """One program's lives, one after another."""

    def __init__(self, program: Program, supervisor: Supervisor) -> None:
        self._program = program
        self._supervisor = supervisor
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._log = ChildLog(supervisor.logs / f"{program.name}.log")
        self._task = asyncio.create_task(self._keep_running(), name=program.name)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def _keep_running(self) -> None:
        delay, deaths = 0.0, 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                status = await self._live()
            except OSError as error:
                self._give_up(f"{self._program.name}: {self._program.command[0]}: {error.strerror}")
                return
            if self._stopping.is_set():
                return
            lived = time.monotonic() - began
            delay = next_delay(delay, lived)
            deaths += 1
            death = Death(self._program.name, status, lived, tuple(self._last_lines), delay)
            self._supervisor.on_death(death)
            if self._supervisor.starting and deaths >= STARTUP_DEATHS:
                self._give_up(f"{death.name} died {deaths} times while starting ({death.reason})")
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _live(self) -> int:
        """One life of the program, from start to exit status. Raises OSError when it can't be started."""
        # A pipe of our own: asyncio's would tie the exit to the last grandchild that holds the other end.
        output, inlet = os.pipe()
        pump = asyncio.create_task(self._read(output))
        try:
            process = await asyncio.create_subprocess_exec(
                *self._program.command,
                stdin=subprocess.DEVNULL,
                stdout=inlet,
                stderr=inlet,
                cwd=self._program.directory,
                env=dict(self._program.environment),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        finally:
            os.close(inlet)
        self._process = process
        self._supervisor.watch(process.pid)
        if self._stopping.is_set():  # asked while the process was being made
            process.terminate()
        try:
            status = await process.wait()
        finally:
            self._process = None
            _signal_group(process.pid, signal.SIGKILL)  # what it forked and did not wait for
            self._supervisor.unwatch(process.pid)
            await asyncio.wait({pump}, timeout=1)
        return status

    async def _read(self, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        self._last_lines.clear()
        rest = b""
        while chunk := await reader.read(LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)
        transport.close()

    def _take(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").rstrip("\r")
        if line:
            self._last_lines.append(line)
        self._log.write(line)
        self._supervisor.on_line(self._program.name, line)

    def _give_up(self, reason: str) -> None:
        if not self._supervisor.gave_up.done():
            self._supervisor.gave_up.set_exception(GaveUp(reason))

    async def stop(self, grace: float) -> None:
        self._stopping.set()
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        done, _ = await asyncio.wait({self._task}, timeout=grace)
        if not done:
            self.kill()
            await asyncio.wait({self._task}, timeout=1)
        self._log.close()

    def kill(self) -> None:
        if self._process:
            _signal_group(self._process.pid, signal.SIGKILL)


def _die_with_parent() -> None:
    # For the case that the watchdog is killed together with `up`. It runs between fork and exec.
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
