"""How many sessions are created in a second, and how long that takes, beside applications that only insert a row.

    python -m bench.create [--callers 1 16 64] [--rounds 3] [--seconds 2]

A real PostgreSQL and Valkey, one web process and one worker as the Procfile starts them. The baseline is what one
would write instead, FastAPI with asynchronous SQLAlchemy (bench/fastapi_app.py), one process of uvicorn with its
defaults; the bare insert is the least that any process can do (bench/direct.py). Both commit a row for each request.
All are asked by turns, over connections that stay open, by callers that each wait for an answer before they ask
again. Fails when a request was not answered with 201, or one that was has no row.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

import psutil
from sqlalchemy import func, make_url, select

from bench import direct
from bench.child import child
from celery_config import QueueNames
from core.messaging.consumers import Presence
from core.stores.database import Database
from core.stores.tables import Session
from tests.support.postgres import Postgres
from tests.support.procfile import procfile_command
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import OPTIONS, ROOT, WebProcess, free_port

REQUEST = b"POST /session/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
NO_LIMIT = "1000000000/h:1000000000"
"""For callers that are all one address: as much is checked as with a limit that refuses."""
SWITCHBOARD, BASELINE, BARE = "Switchboard", "FastAPI", "bare insert"
RATE_TARGET = 1.5
"""Times the baseline's rate that many callers are promised."""
MEDIAN_TARGET = 3.0
"""Times the baseline's median that one caller is promised at the most."""
HEADINGS = "callers  server        per s   p50 ms   p99 ms   CPU ms"
PATIENCE = 30.0
"""Seconds after which a request is not answered any more."""
PACKAGES = ("fastapi", "uvicorn", "sqlalchemy", "asyncpg")
"""Whose versions are named."""


@dataclass(frozen=True)
class Server:
    """What is asked."""

    name: str
    port: int
    processes: Sequence[psutil.Process]

    def worked(self) -> float:
        """Seconds of a processor that its processes have used."""
        return float(sum(sum(process.cpu_times()[:2]) for process in self.processes))


@dataclass(frozen=True)
class Round:
    """What so many callers have seen."""

    seconds: float
    times: Sequence[float]
    """Seconds of each request that was answered with 201, in ascending order."""
    ids: Sequence[UUID]
    """The sessions of these answers."""
    failed: int
    """Requests that were answered with something else, or not at all."""
    worked: float
    """Seconds of a processor that the server's processes have used, without the database and Redis."""

    @property
    def rate(self) -> float:
        """Sessions per second."""
        return len(self.times) / self.seconds

    @property
    def cpu(self) -> float:
        """Milliseconds of a processor for one session."""
        return 1000 * self.worked / len(self.times)

    def quantile(self, part: float) -> float:
        """Milliseconds within which this part of the requests was answered."""
        return 1000 * self.times[min(len(self.times) - 1, int(part * len(self.times)))]


@dataclass(frozen=True)
class Figures:
    """The medians of a number of rounds."""

    rate: float
    p50: float
    p99: float
    cpu: float

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> "Figures":
        """Those of these rounds."""
        of_each = [(each.rate, each.quantile(0.5), each.quantile(0.99), each.cpu) for each in rounds]
        return cls(*(statistics.median(column) for column in zip(*of_each, strict=True)))


def main() -> None:
    """Measure, print the figures, and fail when a session is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    baseline = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"the baseline is {baseline}; the bare insert is {direct.VERSION}")
    print(f"{options.rounds} rounds of {options.seconds:.0f} s each, medians")
    print(HEADINGS)
    with servers() as (compared, database):
        for callers in options.callers:
            seen = measure(compared, database, callers, options.rounds, options.seconds)
            for name, figures in seen.items():
                print(
                    f"{callers:>7}  {name:<11}{figures.rate:>8,.0f}{figures.p50:>9.1f}{figures.p99:>9.1f}"
                    f"{figures.cpu:>9.2f}"
                )
            ours, theirs = seen[SWITCHBOARD], seen[BASELINE]
            promised = {
                1: f"at most {MEDIAN_TARGET} of p50 promised",
                64: f"at least {RATE_TARGET} of the rate promised",
            }
            print(
                f"         to {BASELINE:<8}{ours.rate / theirs.rate:>8.2f}{ours.p50 / theirs.p50:>9.2f}"
                f"   {promised.get(callers, '')}".rstrip(),
                flush=True,
            )


def measure(
    compared: Sequence[Server], database: Database, callers: int, rounds: int, seconds: float
) -> dict[str, Figures]:
    """What so many callers see of each server. Raises SystemExit, with the counts, when a session is missing."""
    for server in compared:
        asyncio.run(_round(server, callers, seconds / 4))  # connections are made, statements prepared
    seen: dict[str, list[Round]] = {server.name: [] for server in compared}
    for _ in range(rounds):
        for server in compared:
            found = asyncio.run(_round(server, callers, seconds))
            check(found, database)
            seen[server.name].append(found)
    return {name: Figures.of(found) for name, found in seen.items()}


def check(seen: Round, database: Database) -> None:
    """Raise SystemExit, with the counts, when a request was not answered with 201, or one that was has no row."""
    with database.reading(PATIENCE) as db:
        rows = db.scalar(select(func.count()).where(Session.id.in_(seen.ids))) or 0
    if seen.failed or rows != len(seen.ids):
        sys.exit(f"{seen.failed} requests were not answered with 201, {len(seen.ids) - rows} that were have no row")


async def _round(server: Server, callers: int, seconds: float) -> Round:
    times: list[float] = []
    ids: list[UUID] = []
    failed = 0
    worked, began = server.worked(), time.perf_counter()

    async def call() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while (asked := time.perf_counter()) < began + seconds:
            writer.write(REQUEST)
            try:
                status, body = await asyncio.wait_for(_answer(reader), PATIENCE)
            except (TimeoutError, OSError, EOFError):
                failed += 1
                break
            if status == 201:
                times.append(time.perf_counter() - asked)
                ids.append(UUID(json.loads(body)["session_id"]))
            else:
                failed += 1
        writer.close()

    await asyncio.gather(*(call() for _ in range(callers)))
    return Round(time.perf_counter() - began, sorted(times), ids, failed, server.worked() - worked)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    return int(head.split(" ", 2)[1]), await reader.readexactly(length)


@contextmanager
def servers() -> Iterator[tuple[Sequence[Server], Database]]:
    """Switchboard, the baseline and the bare insert, and their database, for as long as the block lasts."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="sb-bench-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        postgres = Postgres(durable=True)
        stack.callback(postgres.close)
        valkey = Valkey(directory)
        stack.callback(valkey.stop)
        database_url = postgres.create()
        # All callers are one address.
        off = dict.fromkeys(("SWITCHBOARD_LIMIT_CREATE", "SWITCHBOARD_LIMIT_CREATE_GLOBAL"), NO_LIMIT)
        web = WebProcess(directory, valkey, database_url, **off)
        stack.callback(web.close)
        worker = stack.enter_context(_worker(directory, {"REDIS_URL": valkey.url, "DATABASE_URL": database_url}))
        ours = Server(SWITCHBOARD, web.port, (web.worker, worker))
        try:
            baseline = stack.enter_context(_fastapi(directory, database_url))
            bare = stack.enter_context(_bare_insert(database_url))
            presence = Presence(valkey.client())
            wait_for(lambda: not presence.missing([QueueNames.SESSIONS]), seconds=60, what="the worker consumes")
            yield (ours, baseline, bare), web.database
        except BaseException:
            for log in ("worker.log", "web.log", "fastapi.log"):
                print((directory / log).read_text()[-3000:], file=sys.stderr)
            raise


@contextmanager
def _worker(directory: Path, environment: dict[str, str]) -> Iterator[psutil.Process]:
    """The worker, as the Procfile starts it."""
    mine = {"SWITCHBOARD_MODELS": str(ROOT / "models.toml"), "SWITCHBOARD_STATE_DIR": str(directory), **environment}
    with _process(procfile_command("worker"), directory, "worker.log", mine) as process:
        yield process


@contextmanager
def _fastapi(directory: Path, database_url: str) -> Iterator[Server]:
    """The baseline, when it takes requests."""
    url = make_url(database_url)
    asynchronous = url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.fastapi_app:app", "--port", str(port)]
    with _process(command, directory, "fastapi.log", {"DATABASE_URL": asynchronous}) as process:
        wait_for(lambda: _listens(port), seconds=60, what=f"{BASELINE} takes requests")
        yield Server(BASELINE, port, (process,))


@contextmanager
def _bare_insert(database_url: str) -> Iterator[Server]:
    port = free_port()
    with child(direct.run, database_url, port) as process:
        process.receive()
        yield Server(BARE, port, (psutil.Process(process.pid),))


@contextmanager
def _process(command: Sequence[str], directory: Path, log: str, mine: dict[str, str]) -> Iterator[psutil.Process]:
    """A command, not run in the project's directory, whose .env is the developer's."""
    inherited = {name: value for name, value in os.environ.items() if not OPTIONS.match(name)}
    with (directory / log).open("wb") as written:
        process = psutil.Popen(
            list(command),
            cwd=directory,
            env={**inherited, "PYTHONPATH": str(ROOT), **mine},
            stdout=written,
            stderr=written,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


if __name__ == "__main__":
    main()
