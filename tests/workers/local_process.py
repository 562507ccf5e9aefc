"""Local processes in the place of pytest-celery's containers: this project is tested without Docker.

pytest-celery's nodes ask little of a container; these classes have what they ask for.
"""

import os
import re
import signal as signals
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import celery
import psutil
from pytest_celery import CeleryTestBroker, CeleryTestWorker

from celery_config import QueueNames
from core.messaging.consumers import Presence
from core.stores.redis import Redis
from tests.support.procfile import procfile_command
from tests.support.sole_writer import WATCHED
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
OPTIONS = re.compile(r"SWITCHBOARD_|(DATABASE_URL|REDIS_URL|BROKER_URL|PORT)$")


class ValkeyProcess:
    """A Valkey as pytest-celery's broker container."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey
        self.name = self.id = "valkey"

    @property
    def celeryconfig(self) -> dict[str, str]:
        """Where it listens, in kombu's spelling."""
        url = self._valkey.url.replace("unix://", "redis+socket://")
        return {"url": url, "host_url": url}

    @property
    def status(self) -> str:
        """`running` or `exited`, as Docker has it."""
        return _status(self._valkey.process)

    def ready(self) -> bool:
        """Whether it answers."""
        return bool(self._valkey.client().ping())

    def logs(self) -> str:
        """All that it has logged."""
        return (self._valkey.directory / "valkey.log").read_text()

    def kill(self, signal: str = "SIGKILL") -> None:
        """Send it a signal."""
        assert self._valkey.process is not None
        self._valkey.process.send_signal(signals.Signals[signal])

    def restart(self, timeout: float) -> None:
        """Stop it as an operator would, and start it over its append-only file."""
        self._valkey.stop()
        self._valkey.start()

    def reload(self) -> None:
        """Nothing is cached."""

    def teardown(self) -> None:
        """The fixture that has made the Valkey stops it."""


class WorkerProcess:
    """A Celery worker, started as the Procfile starts it, as pytest-celery's worker container.

    One worker consumes all the queues: a second one would double the time that the tests spend on starts.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        redis: Redis,
        *,
        name: str = "tests",
        within: Sequence[str] = (),
    ) -> None:
        """`within`: a command that runs others somewhere else, such as in a network namespace."""
        self.name = self.id = name
        self._within = within
        self._directory = directory
        self._log = directory / f"worker-{name}.log"
        inherited = {name: value for name, value in os.environ.items() if not OPTIONS.match(name)}
        mine = {"PYTHONPATH": f"{WATCHED}{os.pathsep}{ROOT}", "SWITCHBOARD_LOG_LEVEL": "info"}
        self.environment = {**inherited, **mine, **environment}
        self._redis = redis
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def celeryconfig(self) -> dict[str, str]:
        """A worker has no address."""
        return {}

    @property
    def status(self) -> str:
        """`running` or `exited`, as Docker has it."""
        return _status(self._process)

    def ready(self) -> bool:
        """Wait until it consumes every queue."""
        wait_for(self._consumes, seconds=30, what="the worker consumes its queues")
        return True

    def logs(self) -> str:
        """All that it has logged, from its first start on."""
        return self._log.read_text() if self._log.exists() else ""

    def kill(self, signal: str = "SIGKILL") -> None:
        """Send it a signal; SIGKILL's effect is waited for."""
        assert self._process is not None
        self._process.send_signal(signals.Signals[signal])
        if signal == "SIGKILL":
            self._process.wait(10)

    def restart(self, timeout: float) -> None:
        """Stop it if it runs, and start it."""
        self.stop(timeout)
        # The one before is believed to consume for some seconds more.
        for stale in self._redis.scan_iter("sb:consumer:*"):
            self._redis.delete(stale)
        with self._log.open("ab") as log:
            # Not in the project's directory, whose .env is the developer's.
            self._process = subprocess.Popen(
                [*self._within, *_command(self.name)],
                cwd=self._directory,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def stop(self, timeout: float) -> None:
        """Stop it as an operator would, and wait until it is gone."""
        if self._process is not None and self.status == "running":
            self._process.terminate()
            self._process.wait(timeout)

    def reload(self) -> None:
        """Nothing is cached."""

    def teardown(self) -> None:
        """Leave no process behind."""
        if self._process is not None and self.status == "running":
            self.kill()

    def peers(self) -> set[str]:
        """The addresses of those whom it has a TCP connection to."""
        assert self._process is not None
        return {each.raddr.ip for each in psutil.Process(self._process.pid).net_connections() if each.raddr}

    def worker_name(self) -> str:
        """The part of its node name before the host."""
        return self.name

    def worker_queue(self) -> str:
        """What it consumes."""
        return ",".join(QueueNames.ALL)

    def version(self) -> str:
        """Celery's version."""
        return str(celery.__version__)

    def _consumes(self) -> bool:
        if self.status == "exited":
            raise AssertionError(f"the worker did not start:\n{self.logs()}")
        return not Presence(self._redis).missing(QueueNames.ALL)


class Broker(CeleryTestBroker):
    """pytest-celery's handle on the Valkey."""


class Worker(CeleryTestWorker):
    """pytest-celery's handle on the worker."""

    container: Any

    def ensure_running(self) -> None:
        """Start it unless it runs, and wait until it consumes."""
        if self.container.status == "exited":
            self.restart()
        assert self.ready()


def _command(name: str) -> list[str]:
    mine = ["--queues", ",".join(QueueNames.ALL), "--hostname", f"{name}@%h"]
    return [*procfile_command("chat"), *mine]


def _status(process: subprocess.Popen[bytes] | None) -> str:
    return "running" if process is not None and process.poll() is None else "exited"
