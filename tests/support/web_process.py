"""A real web process: gunicorn with the real application, over a Valkey and a database of its own."""

import os
import re
import signal
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from core.migrations.runner import migrate
from core.sessions.credential import Credential
from core.stores.database import Database
from core.stores.tables import Session
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
OPTIONS = re.compile(r"SWITCHBOARD_|(DATABASE_URL|REDIS_URL|BROKER_URL|(FLOWER_)?PORT)$")
LIFETIME = timedelta(hours=2)
COMMAND = [sys.executable, "-m", "gunicorn", "--config", "web/gunicorn.py", "web.app:create_app()"]

ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


class WebProcess:
    """One gunicorn on a loopback port. It may be stopped, killed and started again."""

    def __init__(self, directory: Path, valkey: Valkey | None, database_url: str = "", **environment: str) -> None:
        """Without a `database_url`, which must be migrated, it gets a SQLite database of its own. Without a `valkey`
        the environment says where Redis is."""
        self.directory = directory
        self._valkey = valkey
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.expires_at = datetime.now(UTC) + LIFETIME
        if not database_url:
            database_url = f"sqlite:///{directory / 'web.db'}"
            migrate(database_url)
        self.database = Database(database_url)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not OPTIONS.match(name)},
            "PORT": str(self.port),
            **({"REDIS_URL": valkey.url} if valkey else {}),
            "DATABASE_URL": database_url,
            "SWITCHBOARD_MODELS": str(ROOT / "models.toml"),
            "SWITCHBOARD_STATE_DIR": str(directory),
            **environment,
        }
        self._process: psutil.Popen
        self.start()

    def start(self) -> None:
        """Start it and wait until it takes requests."""
        with (self.directory / "web.log").open("ab") as log:
            self._process = psutil.Popen(
                COMMAND,
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        wait_for(self._answers, seconds=60, what=f"the web process answers, see {self.directory / 'web.log'}")

    def start_on(self, held: socket.socket) -> psutil.Popen:
        """Start another one on a socket that somebody holds, as systemd hands it over (sd_listen_fds(3))."""
        with (self.directory / "web.log").open("ab") as log:
            return psutil.Popen(
                [sys.executable, "-c", ACTIVATE, str(held.fileno()), *COMMAND],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                pass_fds=[held.fileno()],
            )

    def reload(self) -> None:
        """Have it read its configuration anew."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Stop it as an operator would, and wait for its end."""
        self.terminate()
        self._process.wait(20)

    def terminate(self) -> None:
        """Ask it to stop, and go on."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and its worker as the kernel would when memory runs out."""
        for process in [*self._process.children(recursive=True), self._process]:
            process.kill()
        self._process.wait(10)

    def close(self) -> None:
        """For the end of a test: leave nothing behind."""
        if self._process.is_running():
            self.kill()
        self.database.dispose()

    @property
    def valkey(self) -> Valkey:
        """The Valkey that it was given."""
        assert self._valkey is not None
        return self._valkey

    @property
    def processes(self) -> Sequence[psutil.Process]:
        """All of gunicorn's."""
        return [self._process, *self._process.children()]

    @property
    def worker(self) -> psutil.Process:
        """The process that holds the streams."""
        child: psutil.Process = self._process.children()[0]
        return child

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.directory / "web.log").read_text()

    def new_sessions(self, count: int) -> Sequence[Credential]:
        """Anonymous sessions, put right into the database."""
        issued = [Credential.issue() for _ in range(count)]
        now = datetime.now(UTC)
        with self.database.writing() as db:
            db.add_all(
                Session(
                    id=credential.session_id,
                    secret_hash=credential.secret_hash,
                    last_model="smollm2",
                    created_at=now,
                    expires_at=self.expires_at,
                    ends_at=self.expires_at,
                )
                for credential in issued
            )
        return issued

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
