"""How long the list of a user's sessions and the search in them take, with many sessions and with few.

    python -m bench.listing [--sessions 10000] [--rounds 200]

A real PostgreSQL, Valkey and gunicorn. One user has so many sessions, with a question and an answer each, indexed as
the reaper does it; a stranger has as many with the same words, and the baseline, asked by turns with the first in the
same run, is a user with 10. Milliseconds are of whole requests over one kept connection, whatever else the machine
does. Fails when a page, or something that was to be found, is missing or another's.
"""

import argparse
import http.client
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import psycopg
from sqlalchemy import insert, make_url, text
from uuid_utils.compat import uuid7

from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import Generation, GenerationState, Message
from tests.conftest import new_user
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey
from tests.support.web_process import ROOT, WebProcess
from web.auth.cookies import LOGIN

FEW = 10
"""Sessions of the baseline."""
PAGE = 50
COMMON = "harbour"
"""A word that is in every question; each has its number as another."""
BATCH = 5_000
"""Sessions that are added in one transaction."""
INSERT = """
INSERT INTO session (id, owner_id, title, last_model, version, created_at, last_active_at, expires_at, ends_at)
VALUES (%(id)s, %(owner_id)s, %(title)s, 'smollm2', 1, %(at)s, %(at)s, %(ends_at)s, %(ends_at)s)
"""


class Incomplete(Exception):
    """Something is missing, or another's."""


@dataclass(frozen=True)
class Listed:
    """A user, and their sessions, the last active first."""

    user_id: UUID
    cookie: str
    ids: Sequence[UUID]


class Reader:
    """A page: one connection, and the cookie of a login."""

    def __init__(self, port: int, owner: Listed) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._owner = owner

    def get(self, **query: str | int) -> tuple[float, dict[str, Any]]:
        """Milliseconds, and a page of the list. Raises Incomplete."""
        began = time.perf_counter()
        self._connection.request("GET", f"/sessions?{urlencode(query)}", headers={"Cookie": self._owner.cookie})
        answer = self._connection.getresponse()
        body = answer.read()
        took = 1000 * (time.perf_counter() - began)
        if answer.status != 200:
            raise Incomplete(f"{query}: {answer.status} {body[:200]!r}")
        return took, json.loads(body)

    def check(self) -> str:
        """See that the list and the search are whole; the cursor of a page in their middle. Raises Incomplete."""
        wanted = [str(each) for each in self._owner.ids]
        for query in ({}, {"q": COMMON}):
            found, cursors = self._pages(query)
            if found != wanted:
                raise Incomplete(f"{query}: {len(found)} of {len(wanted)} sessions, or in another order")
        for place in (0, len(wanted) // 2, len(wanted) - 1):
            found = self._pages({"q": _number(len(wanted) - 1 - place)})[0]
            if found != [wanted[place]]:
                raise Incomplete(f"the word of one session finds {len(found)}")
        if self._pages({"q": "nowhere"})[0]:
            raise Incomplete("what is nowhere is found")
        return cursors[len(cursors) // 2] if cursors else ""

    def close(self) -> None:
        """Leave."""
        self._connection.close()

    def _pages(self, query: dict[str, str]) -> tuple[list[str], list[str]]:
        found: list[str] = []
        cursors: list[str] = []
        while True:
            page = self.get(limit=100, **query, **({"before": cursors[-1]} if cursors else {}))[1]
            found += [each["session_id"] for each in page["sessions"]]
            if page["next"] is None:
                return found, cursors
            cursors.append(page["next"])


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10_000, help="of the user (10000)")
    parser.add_argument("--rounds", type=int, default=200, help="requests of each kind (200)")
    options = parser.parse_args()
    with closing(Postgres(durable=True)) as postgres:
        print(f"{options.sessions:,} sessions            p50        p95   with {FEW}: p50        p95   ratio of p50")
        for name, many, few in measure(postgres, options.sessions, options.rounds):
            (p50, p95), (few_p50, few_p95) = map(_percentiles, (many, few))
            print(
                f"{name:<20} {p50:>7.1f} ms {p95:>7.1f} ms   {few_p50:>9.1f} ms {few_p95:>7.1f} ms"
                f"   {p50 / few_p50:>10.1f}",
                flush=True,
            )


def measure(postgres: Postgres, sessions: int, rounds: int) -> Iterator[tuple[str, list[float], list[float]]]:
    """Of each kind of request its name, and the milliseconds of the user's and of the baseline's. Raises
    Incomplete."""
    with (
        _served(postgres, sessions) as (port, owners),
        closing(Reader(port, owners[0])) as many,
        closing(Reader(port, owners[1])) as few,
    ):
        middle = many.check()
        few.check()
        kinds: dict[str, dict[str, str | int]] = {
            "first page": {},
            "page in the middle": {"before": middle} if middle else {},
            "word of all": {"q": COMMON},
            "word of one": {"q": _number(FEW // 2)},
            "beginning of all": {"q": COMMON[:4]},
            "two words": {"q": f"{COMMON} {_number(FEW // 2)}"},
            "word of none": {"q": "nowhere"},
        }
        for name, query in kinds.items():
            times = [(many.get(limit=PAGE, **query)[0], few.get(limit=PAGE, **query)[0]) for _ in range(rounds)]
            yield name, [each for each, _ in times], [each for _, each in times]


@contextmanager
def _served(postgres: Postgres, sessions: int) -> Iterator[tuple[int, list[Listed]]]:
    """The web process's port, and the two users."""
    directory = Path(tempfile.mkdtemp(prefix="sb-listing-"))
    valkey, url = Valkey(directory), postgres.create()
    settings = Settings(
        configured_redis_url=valkey.url,
        configured_database_url=url,
        models_path=ROOT / "models.toml",
        state_dir=directory,
    )
    runtime = Runtime(settings)
    try:
        owners = [_fill(runtime, count) for count in (sessions, FEW, sessions)]
        with runtime.database.writing() as db:
            db.execute(text("ANALYZE"))  # as autovacuum does after so many rows
        with closing(WebProcess(directory, valkey, url, SWITCHBOARD_LIMIT_CHANGES="off")) as web:
            yield web.port, owners[:2]
    finally:
        runtime.close()
        valkey.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _fill(runtime: Runtime, count: int) -> Listed:
    """A user with so many sessions, a minute apart."""
    owner, now = new_user(runtime.database), datetime.now(UTC)
    ids = [uuid7() for _ in range(count)]
    for begin in range(0, count, BATCH):
        rows: list[list[dict[str, Any]]] = [[], [], []]
        for number in range(begin, min(begin + BATCH, count)):
            for table, added in zip(rows, _rows(ids[number], owner, number, count, now), strict=True):
                table.extend(added)
        # The rows of sessions past SessionService, which would count each among those that its user may have.
        with psycopg.connect(_address(runtime.settings.database_url)) as connection, connection.cursor() as cursor:
            cursor.executemany(INSERT, rows[0])
        with runtime.database.writing() as db:
            for kind, table in zip((Generation, Message), rows[1:], strict=True):
                db.execute(insert(kind), table)
    while runtime.search.index_pending(owner, batches=100):
        pass
    with runtime.database.writing() as db:
        login = runtime.logins.begin(owner, db)
    return Listed(owner, f"{LOGIN.plain_name}={login}", ids[::-1])


def _rows(
    session_id: UUID, owner: UUID, number: int, count: int, now: datetime
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Of a session: its own, its answer's, and its messages'."""
    at = now - timedelta(minutes=count - number)
    question, answer = uuid7(), uuid7()
    asked = f"Which ship lies at the {COMMON} of berth {_number(number)}?"
    said = "It carries timber, and leaves with the tide. " * 5
    ends_at = now + timedelta(days=14)
    session = {"id": session_id, "owner_id": owner, "title": asked, "at": at, "ends_at": ends_at}
    generation = {
        "id": answer,
        "session_id": session_id,
        "model": "smollm2",
        "question_id": question,
        "state": GenerationState.DONE,
        "attempt": 1,
        "lease_until": at,
        "created_at": at,
        "finished_at": at,
        "stop_requested": False,
    }
    common = {"session_id": session_id, "state": "complete", "created_at": at}
    messages = [
        {**common, "id": question, "parent_id": session_id, "role": "user", "text": asked},
        {**common, "id": answer, "parent_id": question, "role": "assistant", "text": said},
    ]
    return [session], [generation], messages


def _address(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _number(number: int) -> str:
    """A word of its own for each, which begins no other."""
    return f"n{number}e"


def _percentiles(times: Sequence[float]) -> tuple[float, float]:
    return statistics.median(times), sorted(times)[int(0.95 * len(times))]


if __name__ == "__main__":
    main()
