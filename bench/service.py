"""A process that is kept running, as a process manager does it: started again after it has ended."""

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.waiting import wait_for

RESTART_DELAY = 0.5
"""Seconds between an end and the next start."""
STARTUP = 120.0
"""Seconds that a start may take."""
ENDING = 10.0
"""Seconds that an end may take."""


class Service:
    """The process and its children. `ready` looks whether it can do its work."""

    def __init__(
        self,
        command: Sequence[str],
        ready: Callable[[], bool],
        *,
        directory: Path,
        log: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._command = command
        self._ready = ready
        self._directory = directory
        self._log = log
        self._environment = dict(environment)
        self._closing = threading.Event()
        self._running = self._start()
        self._keeper = threading.Thread(target=self._keep_running, daemon=True)
        self._keeper.start()

    def await_ready(self) -> None:
        """Wait until it can do its work. Raises AssertionError with the end of its log when that takes too long."""
        try:
            wait_for(self._ready, seconds=STARTUP, what=f"{self._log.stem} is ready")
        except AssertionError:
            print(self._log.read_text(errors="replace")[-3000:], file=sys.stderr)
            raise

    @property
    def process(self) -> psutil.Process:
        """The one that runs now, or has ended and is not started again yet."""
        return psutil.Process(self._running.pid)

    def kill(self) -> None:
        """End it and its children at once."""
        self.stop(0)

    def stop(self, grace: float) -> None:
        """Ask it to end, and after `grace` seconds end it and its children."""
        running, family = self._running, self.family()
        with suppress(subprocess.TimeoutExpired):
            if grace:
                running.terminate()
                running.wait(grace)
        running.kill()
        running.wait(ENDING)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=ENDING)

    def family(self) -> list[psutil.Process]:
        """It and its children."""
        with suppress(psutil.NoSuchProcess):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def close(self) -> None:
        """End it for good."""
        self._closing.set()
        while self._keeper.is_alive():  # it may be starting another
            self.kill()
            self._keeper.join(0.1)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, cwd=self._directory, env=self._environment, stdout=log, stderr=log)

    def _keep_running(self) -> None:
        while True:
            self._running.wait()
            if self._closing.wait(RESTART_DELAY):
                return
            self._running = self._start()


def memory(processes: Sequence[psutil.Process]) -> int:
    """Bytes that the processes have together; what they share is counted once (PSS)."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total
