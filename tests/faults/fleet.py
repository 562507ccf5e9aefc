"""A small installation of real processes to break: a web server, chat workers, Valkey, a database, a provider, and
beat's part."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID, uuid4

from celery import Celery
from kombu.exceptions import OperationalError

from celery_config import QueueNames, TaskNames
from core.errors import Unavailable
from core.runtime import Runtime
from core.settings import Settings
from tests.support.postgres import Postgres
from tests.support.procfile import procfile_command
from tests.support.provider import ProviderServer
from tests.support.sole_writer import WATCHED
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import WebProcess
from tests.workers.local_process import OPTIONS, ROOT

LEASE = 2.0
"""Seconds. Long enough that a busy machine does not look like a dead worker."""
AWAY = (Unavailable, OperationalError)
"""What a process meets while a store is away."""


class ChatWorker:
    """A chat worker, started as the Procfile starts it, that is killed and started again."""

    def __init__(self, name: str, directory: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._directory = directory
        inherited = {variable: value for variable, value in os.environ.items() if not OPTIONS.match(variable)}
        self._environment = {**inherited, "PYTHONPATH": f"{WATCHED}{os.pathsep}{ROOT}", **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._before: list[subprocess.Popen[bytes]] = []
        """Those that were on their way out when they were replaced."""
        self._starts = 0
        self._log = directory / f"{name}.log"

    def start(self) -> None:
        """Start it unless it runs; see `ready`. One that is on its way out is replaced at once."""
        if self.alive and not self._leaving:
            return
        if self._process is not None:
            self._before.append(self._process)
        self._starts += 1
        self._leaving = False
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self._directory, env=self._environment, stdout=log, stderr=log
            )

    _leaving = False

    @property
    def alive(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has begun to consume."""
        return self.alive and " ready." in self.log

    @property
    def log(self) -> str:
        """What it has logged since its last start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if number == signal.SIGCONT:  # whoever was frozen on its way out can go on, too
            for process in self._before:
                process.send_signal(number)
        if not self.alive:
            return
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGTERM:
            self._leaving = True
        if number == signal.SIGKILL:
            self._process.wait(10)

    def close(self) -> None:
        """Leave no process behind."""
        self.send(signal.SIGKILL)
        for process in self._before:
            process.kill()
            process.wait(10)

    def _command(self) -> list[str]:
        node = f"{self.name}-{self._starts}@%h"
        return [*procfile_command("chat"), "--hostname", node]


class Fleet:
    """The installation. The test process asks and stops as its web server does, and does what beat and its worker
    do."""

    def __init__(
        self, database_url: str, provider: ProviderServer, postgres: Postgres | None = None, **of_web: str
    ) -> None:
        """`postgres` is the database's server, if it may be broken. `of_web`: variables of the web server's."""
        self.postgres = postgres
        self.directory = Path(tempfile.mkdtemp(prefix="sb-"))
        self.valkey = Valkey(self.directory)
        models = self.directory / "models.toml"
        # How soon a silent provider is given up is tested elsewhere; here a busy machine must not look like one.
        tables = (
            provider.models_toml()
            .replace("_timeout = 0.6", "_timeout = 20")
            .replace("_timeout = 1.0", "_timeout = 20")
        )
        models.write_text(tables.replace("context_tokens = 600", "context_tokens = 9000"))
        self.settings = Settings(
            _env_file=None,
            configured_redis_url=self.valkey.url,
            configured_database_url=database_url,
            models_path=models,
            state_dir=self.directory,
            lease=f"{LEASE}s",
            limit_messages_anonymous=None,
            limit_messages_user=None,
        )
        self.runtime = Runtime(self.settings, pool_size=20)
        self.app = Celery("faults", set_as_current=False)
        self.app.config_from_object("celery_config")
        self.app.conf.broker_url = self.settings.broker_url
        options = {"SWITCHBOARD_MODELS": str(models), "SWITCHBOARD_LEASE": f"{LEASE}s"}
        environment = {
            "SWITCHBOARD_LOG_LEVEL": "info",
            "REDIS_URL": self.settings.redis_url,
            "DATABASE_URL": database_url,
            "SWITCHBOARD_STATE_DIR": str(self.directory),
            **options,
        }
        self.workers: Sequence[ChatWorker] = [
            ChatWorker(name, self.directory, environment) for name in ("first", "second")
        ]
        self.web = WebProcess(self.directory, self.valkey, database_url, **options, **of_web)
        self._closing = threading.Event()
        self._beat = threading.Thread(target=self._reap, name="beat", daemon=True)
        self._beat.start()

    def start(self) -> None:
        """Have every worker run and consume."""
        for worker in self.workers:
            worker.send(signal.SIGCONT)
            worker.start()
        for worker in self.workers:
            wait_for(lambda each=worker: each.ready, seconds=60, what=f"{worker.name} is ready")  # type: ignore[misc]

    def generate(self, generation_id: UUID) -> str:
        """What the web process sends when it has accepted a message; the task's id."""
        task_id = str(uuid4())
        self.app.send_task(TaskNames.GENERATE, [str(generation_id)], task_id=task_id)
        return task_id

    def owner_of(self, task_id: str) -> ChatWorker:
        """The worker that has received a task."""
        received = f"[{task_id}] received"
        return wait_for(
            lambda: next((worker for worker in self.workers if received in worker.log), None), what=received
        )

    def replace_web(self) -> None:
        """Kill the web server and start another."""
        self.web.kill()
        self.web.start()

    def restart_valkey(self) -> None:
        """Stop it as an operator would, and start it over its data."""
        self.valkey.stop()
        self.valkey.start()

    def close(self) -> None:
        """Leave nothing behind."""
        self._closing.set()
        self.web.close()
        for worker in self.workers:
            worker.close()
        self._beat.join(10)
        self.runtime.close()
        self.app.close()
        self.valkey.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _reap(self) -> None:
        """What beat has a worker do on its schedule."""
        while not self._closing.wait(self.settings.reap_every.total_seconds()):
            try:
                reaped = self.runtime.reaper.reap()
                for generation_id in (*reaped.handed_off, *reaped.waiting):
                    self.generate(generation_id)
            except AWAY:
                time.sleep(0.1)  # the next one does it


def waiting_tasks(fleet: Fleet) -> int:
    """How many tasks wait in the chat queue."""
    return int(fleet.runtime.redis.llen(QueueNames.CHAT))
