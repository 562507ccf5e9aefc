"""How fast expired sessions are swept, beside a bare batched DELETE of the same rows, and what others notice of it.

    python -m bench.sweep [--rows 10000000] [--expired 1000000] [--quick]

A real PostgreSQL whose commits wait for the disk, a Valkey that keeps its keys, and the worker as the Procfile
starts it, which is sent for as beat does; all the while a client creates sessions over the web at a steady rate. Then
SQLite, where --sqlite sessions of twice as many have expired. Fails when a session that has expired is left, or a key
of one, when a living one is missing, when the worker grows, or when the sweep has read a whole table.
"""

import argparse
import http.client
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil
import psycopg
from celery import Celery
from sqlalchemy import make_url

from bench.chat import process
from bench.create import NO_LIMIT
from bench.expired import BARE, fill_postgresql, fill_sqlite, remember
from celery_config import QueueNames, TaskNames
from core.messaging.consumers import Presence
from core.migrations.runner import migrate
from core.runtime import Runtime
from core.settings import Settings
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import ROOT, WebProcess

CREATES = 20
"""Sessions that the client creates in a second."""
KEYS_MEMORY = 1500
"""Bytes that a session's keys take at most, the append-only file's buffers included."""
MAX_GROWTH = 64
"""MB by which the worker may grow from its first sweep to its last."""
BIG = 100_000
"""Rows from which on a table is not to be read as a whole; PostgreSQL reads small ones so."""
PATIENCE = 3600.0
"""Seconds for all runs of the sweep."""


@dataclass(frozen=True)
class Size:
    """How much there is to sweep."""

    rows: int
    expired: int
    calm: float
    """Seconds for which the client is measured alone."""

    @property
    def sample(self) -> int:
        """More that have expired, for the bare DELETE."""
        return max(1000, self.expired // 10)


class Client(threading.Thread):
    """Creates sessions at a steady rate, and notes how long each takes."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._closing = threading.Event()
        self.times: list[float] = []
        """Seconds."""
        self.created = 0
        self.failed = 0

    def run(self) -> None:
        """Create until it is closed. One that is late does not catch up."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._closing.wait(1 / CREATES):
            began = time.perf_counter()
            connection.request("POST", "/session/create", headers={"Content-Length": "0"})
            answer = connection.getresponse()
            answer.read()
            self.times.append(time.perf_counter() - began)
            self.created += answer.status in (201, 202)  # 202: later than two seconds
            self.failed += answer.status not in (201, 202)

    def take(self) -> str:
        """The figures since the last call."""
        wait_for(lambda: self.times, seconds=30, what="a session is created")
        times, self.times = sorted(self.times), []
        p50, p99 = (1000 * times[int(part * len(times))] for part in (0.5, 0.99))
        return f"{len(times):>6,} creates: p50 {p50:>6.1f} ms, p99 {p99:>7.1f} ms"

    def close(self) -> None:
        """Stop, and wait for the last answer."""
        self._closing.set()
        self.join(30)


class Memory(threading.Thread):
    """Looks at how much memory a process has."""

    def __init__(self, watched: psutil.Process) -> None:
        super().__init__(daemon=True)
        self._watched = watched
        self._closing = threading.Event()
        self.seen: list[float] = []
        """MB."""

    def run(self) -> None:
        """Look until it is closed."""
        while True:
            self.seen.append(self._watched.memory_info().rss / 2**20)
            if self._closing.wait(0.25):
                break

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        self.join(5)


def main() -> None:
    """Measure on both databases, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--expired", type=int, default=1_000_000)
    parser.add_argument("--sqlite", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="a hundredth of all that")
    options = parser.parse_args()
    part = 100 if options.quick else 1
    on_postgresql(Size(options.rows // part, options.expired // part, calm=3.0 if options.quick else 30.0))
    on_sqlite(options.sqlite // part)


def on_postgresql(size: Size) -> None:
    """Measure the worker's sweep, and print what it was. Raises SystemExit when it has not done what it should."""
    with _installation() as (runtime, queue, worker, web, database):
        began = time.perf_counter()
        fill_postgresql(database, size.rows - size.expired, size.sample, size.expired)
        most = min(size.expired, psutil.virtual_memory().available // 2 // KEYS_MEMORY)
        kept = _remember(runtime, database, f"expires_at <= now() ORDER BY expires_at DESC LIMIT {most}")
        living = _remember(runtime, database, "expires_at > now() LIMIT 1000")
        print(
            f"PostgreSQL: {size.expired:,} of {size.rows:,} sessions have expired, {kept:,} of them have keys;"
            f" made in {time.perf_counter() - began:.0f} s"
        )
        with closing(Client(web.port)) as client:
            client.start()
            time.sleep(size.calm)
            print(f"  nothing        {'':>24}  {client.take()}")
            seconds, deleted = _bare(lambda: database.execute(BARE.format(now="now()")).rowcount, size.sample)
            bare = deleted / seconds
            print(f"  bare DELETE    {bare:>12,.0f} rows/s{'':>5}  {client.take()}")
            scans = _scans(database)
            with closing(Memory(worker)) as memory:
                memory.start()
                seconds, runs = _sweep(runtime, queue)
            rate = size.expired / seconds
            print(f"  sweep          {rate:>12,.0f} rows/s, {rate / bare:.2f}  {client.take()}")
        print(f"  {runs} runs, {seconds:.0f} s; the worker had {memory.seen[0]:.0f} to {max(memory.seen):.0f} MB")
        read = {table: count - scans[table] for table, count in _scans(database).items() if count > scans[table]}
        _check(not client.failed, f"{client.failed} creates failed")
        _check(max(memory.seen) - memory.seen[0] < MAX_GROWTH, "the worker grows")
        _check(size.rows < BIG or not read, f"tables were read as a whole: {read}")
        (left,) = cast("Any", database.execute("SELECT count(*) FROM session WHERE expires_at <= now()").fetchone())
        (lives,) = cast("Any", database.execute("SELECT count(*) FROM session").fetchone())
        _check(not left, f"{left} sessions have expired and are left")
        expected = size.rows - size.expired + client.created
        _check(lives == expected, f"{lives} sessions live, not {expected}")
        (orphans,) = cast("Any", database.execute("SELECT count(*) FROM removal_batch").fetchone())
        words = sum(1 for _ in runtime.redis.scan_iter("sb:{*}:words", count=10_000))
        _check(words == living, f"{words} sessions have words in Redis, not {living}")
        _check(not orphans, f"{orphans} batches of removals are left")


def on_sqlite(expired: int) -> None:
    """Measure a sweep in this process, and print what it was."""
    with ExitStack() as stack:
        directory = stack.enter_context(_directory())
        valkey = Valkey(directory)
        stack.callback(valkey.stop)
        path = directory / "sweep.db"
        migrate(f"sqlite:///{path}")
        runtime = stack.enter_context(closing(_runtime(directory, valkey, f"sqlite:///{path}")))
        database = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
        database.execute("PRAGMA foreign_keys = ON")
        fill_sqlite(database, expired, "+1 day")
        fill_sqlite(database, expired, "-1 day")
        seconds, deleted = _bare(lambda: database.execute(BARE.format(now="datetime('now')")).rowcount, expired)
        fill_sqlite(database, expired, "-1 day")
        bare, began = deleted / seconds, time.perf_counter()
        swept = runtime.sweeper.sweep_expired()
        rate = swept / (time.perf_counter() - began)
        print(f"SQLite: {expired:,} of {2 * expired:,} sessions have expired")
        print(f"  bare DELETE    {bare:>12,.0f} rows/s")
        print(f"  sweep          {rate:>12,.0f} rows/s, {rate / bare:.2f}")
        (lives,) = database.execute("SELECT count(*) FROM session").fetchone()
        _check((swept, lives) == (expired, expired), f"{swept} were swept, and {lives} are left")


def _remember(runtime: Runtime, database: "psycopg.Connection[Any]", which: str) -> int:
    with database.transaction(), database.cursor("ids") as ids:
        ids.execute(cast("Any", f"SELECT id::text FROM session WHERE {which}"))
        return remember(runtime.redis, (row[0] for row in ids))


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        sys.exit(otherwise)


def _bare(delete: Callable[[], int], count: int) -> tuple[float, int]:
    """Seconds for this many, and how many they were."""
    began, deleted = time.perf_counter(), 0
    while deleted < count:
        deleted += delete()
    return time.perf_counter() - began, deleted


def _sweep(runtime: Runtime, queue: Celery) -> tuple[float, int]:
    """Send for the sweep until nothing is left; the seconds that its runs have taken, and how many they were."""
    runs, began = 0, time.perf_counter()
    while runtime.sweeper.backlog().count:
        before = runtime.redis.get("sb:ran:sweep")
        queue.send_task(TaskNames.SWEEP_EXPIRED)
        wait_for(lambda: runtime.redis.get("sb:ran:sweep") != before, seconds=120, what="the sweep has run")  # noqa: B023
        runs += 1
        _check(time.perf_counter() - began < PATIENCE, "the sweep does not end")
    return time.perf_counter() - began, runs


def _scans(database: "psycopg.Connection[Any]") -> Mapping[str, int]:
    """By table, how often it has been read as a whole."""
    time.sleep(1.5)  # each connection tells of its own once a second
    database.execute("SELECT pg_stat_clear_snapshot()")
    tables = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname IN ('session', 'generation', 'message')"
    return dict(database.execute(tables).fetchall())


@contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sb-bench-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _runtime(directory: Path, valkey: Valkey, database_url: str) -> Runtime:
    return Runtime(
        Settings(
            _env_file=None,
            configured_redis_url=valkey.url,
            configured_database_url=database_url,
            models_path=ROOT / "models.toml",
            state_dir=directory,
        )
    )


@contextmanager
def _installation() -> Iterator[tuple[Runtime, Celery, psutil.Process, WebProcess, "psycopg.Connection[Any]"]]:
    """A web process and a worker, what they share, and a connection to their database."""
    with ExitStack() as stack:
        directory = stack.enter_context(_directory())
        postgres = Postgres(durable=True)
        stack.callback(postgres.close)
        valkey = Valkey(directory)
        stack.callback(valkey.stop)
        url = postgres.create()
        runtime = stack.enter_context(closing(_runtime(directory, valkey, url)))
        limits = dict.fromkeys(("SWITCHBOARD_LIMIT_CREATE", "SWITCHBOARD_LIMIT_CREATE_GLOBAL"), NO_LIMIT)
        web = WebProcess(directory, valkey, url, **limits)
        stack.callback(web.close)
        environment = {
            "REDIS_URL": valkey.url,
            "DATABASE_URL": url,
            "SWITCHBOARD_MODELS": str(ROOT / "models.toml"),
            "SWITCHBOARD_STATE_DIR": str(directory),
        }
        presence = Presence(valkey.client())
        consumes = lambda: not presence.missing([QueueNames.SESSIONS, QueueNames.MAINTENANCE])  # noqa: E731
        worker = stack.enter_context(process("worker", directory, environment, consumes))
        worker.await_ready()
        queue = stack.enter_context(closing(Celery("bench", set_as_current=False)))
        queue.config_from_object("celery_config")
        queue.conf.broker_url = runtime.settings.broker_url
        driver_url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        database = stack.enter_context(closing(psycopg.connect(driver_url, autocommit=True)))
        yield runtime, queue, worker.process, web, database


if __name__ == "__main__":
    main()
