"""The whole system as `switchboard up` starts it, for a test to use, stop and break."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
START_TIME = 60.0
"""Seconds the system has to come up, on a slow and busy machine."""
STOP_TIME = 10.0
"""Seconds in which it must be gone after SIGTERM."""
OURS = ("SWITCHBOARD_", "DATABASE_URL", "REDIS_URL", "BROKER_URL", "PORT", "FLOWER_PORT")


class System:
    """One state directory and the ports of the system on it. `start` and `stop` may alternate."""

    def __init__(self, state_dir: Path, **environment: str) -> None:
        self.state_dir = state_dir
        port, flower_port = free_ports(2)
        self.base_url = f"http://127.0.0.1:{port}"
        self.flower_url = f"http://127.0.0.1:{flower_port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.environment = {
            **inherited,
            "PORT": str(port),
            "FLOWER_PORT": str(flower_port),
            "SWITCHBOARD_STATE_DIR": str(state_dir),
            # Every test comes from one address.
            "SWITCHBOARD_LIMIT_CREATE": "off",
            "SWITCHBOARD_LIMIT_LOGIN": "off",
            **environment,
        }
        self.process: psutil.Popen
        self._output: list[str] = []

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        self._output = []
        self.process = psutil.Popen(
            [Path(sys.executable).with_name("switchboard"), "up"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()
        self.until(lambda: "Ready in " in self.output or self.process.poll() is not None, START_TIME)
        assert self.process.poll() is None, self.output

    def _read(self, output: Iterator[str]) -> None:
        for line in output:
            self._output.append(line)

    @property
    def output(self) -> str:
        """What `up` has said since its last start."""
        return "".join(self._output)

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait for something to become true; fail with what `up` said when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            return httpx2.get(f"{self.base_url}/readyz", timeout=5, trust_env=False).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False

    def processes(self) -> list[psutil.Process]:
        """Every process of the system: `up`, its children, and what they forked."""
        return [self.process, *self.process.children(recursive=True)]

    def child(self, pattern: str) -> psutil.Process | None:
        """The direct child whose command line has the pattern, or None while there is none."""
        for child in self.process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if re.search(pattern, " ".join(child.cmdline())):
                    return child
        return None

    def suspend(self, pattern: str) -> None:
        """Make that child deaf to all signals but SIGKILL."""
        child = self.child(pattern)
        assert child, self.output
        child.suspend()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, and give the exit status. Fails when it takes longer than it may."""
        self.process.send_signal(number)
        status: int = self.process.wait(timeout=STOP_TIME)
        return status

    def kill(self) -> None:
        """End all that runs of it at once, for the end of a test."""
        if self.process.poll() is None:
            processes = self.processes()
            for process in processes:  # `up` first: it would start the others again
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, STOP_TIME)


@contextmanager
def running(state_dir: Path, **environment: str) -> Iterator[System]:
    """A system for as long as the block lasts. Whoever wants to see it stop has to stop it."""
    system = System(state_dir, **environment)
    try:
        system.start()
        yield system
    finally:
        system.kill()


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [bound.getsockname()[1] for bound in sockets]
    finally:
        for bound in sockets:
            bound.close()
