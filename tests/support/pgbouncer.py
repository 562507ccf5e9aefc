"""A real PgBouncer for tests, Debian's, in transaction mode before a PostgreSQL of the tests."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.postgres import Postgres
from tests.support.rabbitmq import free_ports
from tests.support.waiting import wait_for


class PgBouncer:
    """The process, on a loopback port. All databases share few connections to the server."""

    def __init__(self, server: Postgres, *, connections: int = 5) -> None:
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        if not Path(program).exists():
            pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
        (self.port,) = free_ports(1)
        self._directory = Path(tempfile.mkdtemp(prefix="sb-"))
        self._directory.chmod(0o755)
        configuration = self._directory / "pgbouncer.ini"
        configuration.write_text(
            f"""[databases]
* = host={server.socket.parent} port=5432 user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 500
"""
        )
        account = server.socket.parent.owner()  # it does not run as root, and must reach the socket
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen([program, "-u", account, str(configuration)], stdout=log, stderr=log)
        wait_for(self._answers, what=f"PgBouncer answers, see {self._directory / 'log'}")

    def url(self, database_url: str) -> str:
        """The URL of one of the server's databases through it."""
        address = make_url(database_url).set(host="127.0.0.1", port=self.port, query={"pooler": "transaction"})
        return address.render_as_string(hide_password=False)

    def close(self) -> None:
        """Leave nothing behind."""
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._directory / "log").read_text()
        return "process up" in (self._directory / "log").read_text()
