"""How many sessions are created in a second, and how long that takes, beside an application that only inserts a row.

    python -m bench.create [--callers 1 16 64] [--rounds 3] [--seconds 2]

A real PostgreSQL and Valkey, one web process and one worker as the Procfile starts them; the baseline is one process,
asynchronous, that commits one row for each request (bench/direct.py). Both are asked by turns, over connections that
stay open, by callers that each wait for an answer before they ask again. Fails when a request was not answered with
201, or one that was has no row.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil
from sqlalchemy import func, select

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
HEADINGS = "callers  server        per s   p50 ms   p99 ms   CPU ms"
PATIENCE = 30.0
"""Seconds after which a request is not answered any more."""


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
    print(f"the baseline is {direct.VERSION}; {options.rounds} rounds of {options.seconds:.0f} s each, medians")
    print(HEADINGS)
    with servers() as (switchboard, baseline, database):
        for callers in options.callers:
            ours, theirs = measure((switchboard, baseline), database, callers, options.rounds, options.seconds)
            for server, seen in ((switchboard, ours), (baseline, theirs)):
                figures = f"{seen.rate:>8,.0f}{seen.p50:>9.1f}{seen.p99:>9.1f}{seen.cpu:>9.2f}"
                print(f"{callers:>7}  {server.name:<11}{figures}")
            print(f"         ratio      {ours.rate / theirs.rate:>8.2f}{ours.p50 / theirs.p50:>9.2f}", flush=True)


def measure(
    compared: tuple[Server, Server], database: Database, callers: int, rounds: int, seconds: float
) -> tuple[Figures, Figures]:
    """What so many callers see of Switchboard and of the baseline. Raises SystemExit when a session is missing."""
    for server in compared:
        asyncio.run(_round(server, callers, seconds / 4))  # connections are made, statements prepared
    seen: tuple[list[Round], list[Round]] = ([], [])
    for _ in range(rounds):
        for server, found in zip(compared, seen, strict=True):
            found.append(asyncio.run(_round(server, callers, seconds)))
            _check(found[-1], database)
    ours, theirs = (Figures.of(found) for found in seen)
    return ours, theirs


def _check(seen: Round, database: Database) -> None:
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
def servers() -> Iterator[tuple[Server, Server, Database]]:
    """Switchboard and the baseline, and their database, for as long as the block lasts."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="sb-bench-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        postgres = Postgres(durable=True)
        stack.callback(postgres.close)
        valkey = Valkey(directory)
        stack.callback(valkey.stop)
        database_url, port = postgres.create(), free_port()
        # All callers are one address.
        off = dict.fromkeys(
            ("SWITCHBOARD_LIMIT_CREATE", "SWITCHBOARD_LIMIT_CREATE_GLOBAL"), "1000000000/h:1000000000"
        )
        web = WebProcess(directory, valkey, database_url, **off)
        stack.callback(web.close)
        worker = stack.enter_context(_worker(directory, {"REDIS_URL": valkey.url, "DATABASE_URL": database_url}))
        baseline = stack.enter_context(child(direct.run, database_url, port))
        baseline.receive()
        presence = Presence(valkey.client())
        try:
            wait_for(lambda: not presence.missing([QueueNames.SESSIONS]), seconds=60, what="the worker consumes")
            ours = Server("Switchboard", web.port, (web.worker, worker))
            yield ours, Server("baseline", port, (psutil.Process(baseline.pid),)), web.database
        except BaseException:
            for log in ("worker.log", "web.log"):
                print((directory / log).read_text()[-3000:], file=sys.stderr)
            raise


@contextmanager
def _worker(directory: Path, environment: dict[str, str]) -> Iterator[psutil.Process]:
    """The worker, as the Procfile starts it."""
    inherited = {name: value for name, value in os.environ.items() if not OPTIONS.match(name)}
    mine = {"PYTHONPATH": str(ROOT), "SWITCHBOARD_MODELS": str(ROOT / "models.toml"), **environment}
    with (directory / "worker.log").open("wb") as log:
        process = psutil.Popen(
            procfile_command("worker"),
            cwd=directory,  # not in the project's, whose .env is the developer's
            env={**inherited, "SWITCHBOARD_STATE_DIR": str(directory), **mine},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


if __name__ == "__main__":
    main()
