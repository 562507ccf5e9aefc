"""Child processes: started, watched, restarted when they die, and stopped in good time.

Everything runs on one asyncio loop in the main thread: the kernel's parent-death signal is sent when the
*thread* that started a child ends, so only a thread that lives as long as the process may start children.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.supervision.child_log import ChildLog
from cli.supervision.children import ChildState

logger = logging.getLogger(__name__)

MIN_RESTART_DELAY = 0.5
MAX_RESTART_DELAY = 30.0
"""Seconds before a restart: the first, and the most after doubling."""
DELAY_RESET_AFTER = 30.0
"""Seconds of life after which a death counts as the first one again."""
STEADY_AFTER = 60.0
"""Seconds of life after which a program is well again, and its deaths are forgotten."""
STARTUP_WINDOW = 5.0
"""Seconds that a program which has died while the system starts must live, for the start to be one."""
MAX_STARTUP_DEATHS = 5
"""How often a program may die while the system starts before the start is given up."""
STOP_GRACE = 7.0
"""Seconds between SIGTERM and SIGKILL."""
LAST_LINES = 10
MAX_LINE_LENGTH = 64 * 1024

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
    status: int | OSError
    """The exit status, or why it could not be started."""
    lived: float
    last_lines: Sequence[str]
    restart_in: float
    deaths: int = 1
    """How often it has died, this time included, since it last lived for a while."""

    @property
    def reason(self) -> str:
        """The exit status in words."""
        if isinstance(self.status, OSError):
            return f"it can't be started: {self.status.strerror}"
        if self.status >= 0:
            return f"exit status {self.status}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-self.status).name}"
        return f"killed by signal {-self.status}"


class GaveUp(Exception):
    """A program can't be started, or died again and again while the system started."""


def next_delay(previous: float, lived: float) -> float:
    """Seconds until the next restart, from the delay before this life (0 for the first) and its length."""
    if previous == 0 or lived >= DELAY_RESET_AFTER:
        return MIN_RESTART_DELAY
    return min(previous * 2, MAX_RESTART_DELAY)


class Supervisor:
    """The running children.

    `on_line(name, line)` is called with each line of output, `on_death` with each Death, `on_recovery(name, deaths)`
    when a program that has died lives for a while, and `on_change` when `states` are others, all on the loop. What
    they raise is logged, once, and changes nothing.
    `lock` is a file descriptor that the watchdog keeps open until no child is left.
    """

    def __init__(
        self,
        logs: Path,
        on_line: Callable[[str, str], None],
        on_death: Callable[[Death], None],
        lock: int | None = None,
        on_recovery: Callable[[str, int], None] = lambda name, deaths: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.logs = logs
        self.on_line = on_line
        self.on_death = on_death
        self.on_recovery = on_recovery
        self.on_change = on_change
        self.starting = True
        self.gave_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises GaveUp when the system can't start."""
        self._children: dict[str, _Child] = {}
        self._lock = lock
        self._groups: set[int] = set()
        self._listeners_failed = False
        self._watchdog = self._begin_to_watch()

    def _begin_to_watch(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("watchdog.py"))],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if self._lock is None else (self._lock,),
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

    @property
    def states(self) -> dict[str, ChildState]:
        """How every program is."""
        return {name: ChildState(child.pid, child.deaths) for name, child in self._children.items()}

    @property
    def unsteady(self) -> list[str]:
        """The programs that are not running, or have died and not lived for a while since."""
        return [name for name, child in self._children.items() if not child.is_steady]

    def call(self, listener: Callable[..., None], *arguments: object) -> None:
        """Tell a listener. Nothing that goes wrong with it may end the reading of a pipe, or a child's keeping."""
        try:
            listener(*arguments)
        except Exception:
            if not self._listeners_failed:  # each line of a child would say it again
                logger.exception("a listener of the supervisor failed; further failures are not logged")
            self._listeners_failed = True

    async def stop(self, names: Iterable[str] | None = None, grace: float = STOP_GRACE) -> None:
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
        try:
            self._watchdog.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._watchdog.kill()
            self._watchdog.wait()

    def watch(self, group: int) -> None:
        """Tell the watchdog of a new process group."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def unwatch(self, group: int) -> None:
        """Tell the watchdog that a group is gone, before the kernel can give its number to another."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            if self._watchdog.poll() is not None:  # it was killed: another one takes over
                self._watchdog = self._begin_to_watch()
                line = "".join(f"+{group}\n" for group in self._groups)
            assert self._watchdog.stdin is not None
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
        self._began = 0.0
        self.deaths = 0
        self._log = ChildLog(supervisor.logs / f"{program.name}.log")
        self._task = asyncio.create_task(self._keep_running(), name=program.name)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_steady(self) -> bool:
        lived = time.monotonic() - self._began
        return self._process is not None and (self.deaths == 0 or lived >= STARTUP_WINDOW)

    async def _keep_running(self) -> None:
        supervisor, delay = self._supervisor, 0.0
        while not self._stopping.is_set():
            self._began = time.monotonic()
            status: int | OSError
            try:
                status = await self._live()
            except OSError as error:
                if supervisor.starting:
                    self._give_up(f"{self._program.name}: {self._program.command[0]}: {error.strerror}")
                    return
                status = error  # too many processes or open files, for example: that may pass
            if self._stopping.is_set():
                return
            lived = time.monotonic() - self._began
            delay = next_delay(delay, lived)
            self.deaths += 1
            death = Death(self._program.name, status, lived, tuple(self._last_lines), delay, self.deaths)
            supervisor.call(supervisor.on_change)
            supervisor.call(supervisor.on_death, death)
            if supervisor.starting and self.deaths >= MAX_STARTUP_DEATHS:
                self._give_up(f"{death.name} died {self.deaths} times while starting ({death.reason})")
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
                preexec_fn=die_with_parent,
            )
        finally:
            os.close(inlet)
        self._process = process
        self._supervisor.watch(process.pid)
        self._supervisor.call(self._supervisor.on_change)
        recovery = asyncio.get_running_loop().call_later(STEADY_AFTER, self._recover)
        if self._stopping.is_set():  # asked while the process was being made
            process.terminate()
        try:
            status = await process.wait()
        finally:
            recovery.cancel()
            self._process = None
            _signal_group(process.pid, signal.SIGKILL)  # what it forked and did not wait for
            self._supervisor.unwatch(process.pid)
            await asyncio.wait({pump}, timeout=1)
            pump.cancel()  # if the other end is still open, a process that has left the group keeps it
        return status

    def _recover(self) -> None:
        deaths, self.deaths = self.deaths, 0
        if deaths:
            self._supervisor.call(self._supervisor.on_change)
            self._supervisor.call(self._supervisor.on_recovery, self._program.name, deaths)

    async def _read(self, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        self._last_lines.clear()
        rest = b""
        try:
            while chunk := await reader.read(MAX_LINE_LENGTH):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MAX_LINE_LENGTH:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._take(line)
            if rest:
                self._take(rest)
        finally:
            transport.close()

    def _take(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").rstrip("\r")
        if line:
            self._last_lines.append(line)
        self._log.write(line)
        self._supervisor.call(self._supervisor.on_line, self._program.name, line)

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


def die_with_parent() -> None:
    # For the case that the watchdog is killed together with `up`. It runs between fork and exec.
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
