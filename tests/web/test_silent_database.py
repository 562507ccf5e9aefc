"""A real web process whose database falls silent, or is locked: requests are answered, and others not held up."""

import http.client
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any, NamedTuple

import pytest
from uuid_utils.compat import uuid7

from core.auth.api_keys import ApiKeys
from core.clock import SystemClock
from core.conversation.event_log import EventLog
from core.conversation.keys import channel
from core.sessions.credential import Credential
from core.stores.tables import User
from tests.support.cable import Cable
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import LIFETIME, WebProcess

pytestmark = pytest.mark.timing

ANSWERED = 1.0
"""Seconds within which everything is answered."""
QUICK = 0.25
"""Seconds for what needs no database, on a test's busy machine."""
PASSWORD = "correct horse battery staple"


class Answer(NamedTuple):
    """What came back, and after how many seconds."""

    status: int
    problem: str | None
    retry_after: str | None
    seconds: float


def _send(web: WebProcess, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)) as connection:
        began = time.monotonic()
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {**headers, **({} if sent is None else JSON)})
        response = connection.getresponse()
        content = response.read()
        seconds = time.monotonic() - began
    is_problem = response.headers.get("Content-Type") == "application/problem+json"
    problem = json.loads(content)["type"] if is_problem else None
    return Answer(response.status, problem, response.headers.get("Retry-After"), seconds)


JSON = {"Content-Type": "application/json"}
IN_SESSION = [
    ("GET", "/session/current", None),
    ("GET", "/session/messages", None),
    ("GET", "/chat/sse", None),
    ("POST", "/session/refresh", {}),
    ("POST", "/session/model", {"model": "smollm2"}),
    ("POST", "/chat", {"message": "Why?"}),
    ("POST", "/chat/sse", {"message": "Why?"}),
    ("POST", "/chat/stop", {}),
    ("DELETE", "/session", None),
]
WITH_A_KEY = [
    ("GET", "/auth/me", None),
    ("GET", "/sessions", None),
    ("POST", "/session/create", {}),
    ("POST", "/chat", {"message": "Why?"}),
]
AS_NOBODY = [
    ("POST", "/session/create", {}),
    ("POST", "/chat", {"message": "Why?"}),
    ("POST", "/auth/login", {"email": "ann@example.org", "password": PASSWORD}),
    ("POST", "/auth/register", {"email": "bob@example.org", "password": PASSWORD}),
]
WITHOUT_DATABASE = ("/healthz", "/config/models", "/static/css/conversation.css", "/openapi.json")


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Where the processes of this module write."""
    made = Path(tempfile.mkdtemp(prefix="sb-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def web_valkey(directory: Path) -> Iterator[Valkey]:
    """A Valkey for them."""
    server = Valkey(directory)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def cable(own_postgres: Postgres) -> Iterator[Cable]:
    """What the web process reaches its database over."""
    made = Cable(own_postgres)
    yield made
    made.close()


@pytest.fixture(scope="module")
def web(directory: Path, web_valkey: Valkey, own_postgres: Postgres, cable: Cable) -> Iterator[WebProcess]:
    """A web process on PostgreSQL."""
    url = cable.url(own_postgres.create())
    process = WebProcess(directory, web_valkey, url, SWITCHBOARD_LIMIT_CREATE="off", SWITCHBOARD_LIMIT_LOGIN="off")
    yield process
    process.close()


@contextmanager
def _frozen(server: Postgres) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@contextmanager
def _cut(cable: Cable) -> Iterator[None]:
    cable.cut()
    try:
        yield
    finally:
        cable.mend()


def _key(web: WebProcess) -> dict[str, str]:
    """The headers of a client with an API key."""
    user = User(id=uuid7(), created_at=datetime.now(UTC))
    with web.database.writing() as db:
        db.add(user)
        db.flush()
        _, credential = ApiKeys(SystemClock()).create(user.id, "test", db)
    return {"Authorization": f"Bearer {credential}"}


def _back(web: WebProcess, headers: dict[str, str]) -> None:
    began = time.monotonic()
    wait_for(
        lambda: _send(web, "GET", "/session/current", headers, None).status == 200, seconds=5, what="it works again"
    )
    assert time.monotonic() - began < 2


def test_with_a_frozen_database_everything_is_answered_within_a_second(
    web: WebProcess, own_postgres: Postgres
) -> None:
    mine = {"X-Session-ID": str(web.new_sessions(1)[0])}
    key = _key(web)
    asked = [(mine, *request) for request in IN_SESSION] + [(key, *request) for request in WITH_A_KEY]
    asked += [({}, *request) for request in AS_NOBODY]
    assert _send(web, "GET", "/session/current", mine, None).status == 200  # connections are made and kept
    with _frozen(own_postgres):
        for headers, method, path, body in asked:
            answer = _send(web, method, path, headers, body)
            assert (path, answer.status, answer.problem) == (path, 503, "/problems/unavailable")
            assert answer.retry_after
            assert answer.seconds < ANSWERED, path
        for path in WITHOUT_DATABASE:
            answer = _send(web, "GET", path, {}, None)
            assert (path, answer.status) == (path, 200)
    _back(web, mine)


def test_behind_a_cut_cable_a_crowd_is_answered_within_a_second_and_holds_up_nobody(
    web: WebProcess, cable: Cable
) -> None:
    mine = {"X-Session-ID": str(web.new_sessions(1)[0])}
    over = Flag()
    waited: list[float] = []

    def stand_by() -> None:
        while not over.is_set():
            waited.append(_send(web, "GET", "/healthz", {}, None).seconds)
            over.wait(0.02)

    bystander = Thread(target=stand_by)
    with _cut(cable), ThreadPoolExecutor(60) as crowd:
        bystander.start()
        answers = list(crowd.map(lambda _: _send(web, "GET", "/session/current", mine, None), range(300)))
        over.set()
        bystander.join()
    assert {answer.status for answer in answers} == {503}
    assert max(answer.seconds for answer in answers) < ANSWERED + QUICK  # sixty at once, and their queue
    assert sorted(waited)[int(len(waited) * 0.9)] < QUICK
    _back(web, mine)


@pytest.fixture
def on_sqlite(directory: Path, own_valkey: Valkey) -> Iterator[WebProcess]:
    """A web process on SQLite."""
    process = WebProcess(directory, own_valkey)
    yield process
    process.close()


def test_a_locked_sqlite_holds_up_its_writers_and_no_event_stream(on_sqlite: WebProcess) -> None:
    streaming, writing = on_sqlite.new_sessions(2)
    with ExitStack() as stack:
        crowd = stack.enter_context(ThreadPoolExecutor(5))
        holder = stack.enter_context(closing(sqlite3.connect(on_sqlite.directory / "web.db", isolation_level=None)))
        reader = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", on_sqlite.port, timeout=20)))
        reader.request("GET", "/chat/sse", headers={"X-Session-ID": str(streaming)})
        stream = reader.getresponse()
        name = channel(streaming.session_id)
        wait_for(lambda: on_sqlite.valkey.client().pubsub_numsub(name)[0][1], what="the reader listens")
        holder.execute("BEGIN IMMEDIATE")
        delete = (on_sqlite, "DELETE", "/session", {"X-Session-ID": str(writing)}, None)
        refused = [crowd.submit(_send, *delete) for _ in range(5)]
        slowest = 0.0
        while not all(future.done() for future in refused):
            slowest = max(slowest, _heard_in(on_sqlite, streaming, stream))
            slowest = max(slowest, _send(on_sqlite, "GET", "/healthz", {}, None).seconds)
        assert slowest < QUICK
        for future in refused:
            answer = future.result()
            assert (answer.status, answer.problem) == (503, "/problems/unavailable")
            assert answer.seconds < ANSWERED
        holder.execute("ROLLBACK")
        assert _send(*delete).status == 204


def _heard_in(process: WebProcess, credential: Credential, stream: http.client.HTTPResponse) -> float:
    """How many seconds a reader waits for an event that has just happened."""
    text = str(uuid7())
    began = time.monotonic()
    EventLog(process.valkey.client()).append(
        credential.session_id, "model", {"model": text, "version": 1}, expires_at=datetime.now(UTC) + LIFETIME
    )
    while text not in stream.readline().decode():
        pass
    return time.monotonic() - began
