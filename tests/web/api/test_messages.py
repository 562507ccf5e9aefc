"""GET /session/messages: pages, HTML that is made once, when an answer ends, and not here, and what is damaged."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text, update
from uuid_utils.compat import uuid7

from core.clock import rfc3339
from core.conversation.damage import MAX_LENGTH
from core.conversation.keys import Keys, keys
from core.conversation.message import Message
from core.errors import SwitchboardError
from core.runtime import Runtime
from core.stores import tables
from core.stores.redis import Redis
from tests.conftest import SOME_ID
from tests.support.provider import ANSWER
from tests.support.waiting import wait_for
from tests.web.api.test_events import Listener
from tests.web.api.test_session import _age, _answered
from web.context import context_of

ROOT = Path(__file__).parents[3]
WIDE = "|" + "a|" * 200 + "\n|" + "-|" * 200 + "\n" + "|\n" * 327
"""1.5 kB that any model can be made to repeat, and 660 kB as a table."""


@pytest.fixture(params=["anonymous", "owned"])
def person(client: FlaskClient, request: pytest.FixtureRequest) -> FlaskClient:
    """Somebody who has been answered once."""
    if request.param == "owned":
        account = {"email": f"{uuid7()}@example.org", "password": "correct horse battery"}
        assert client.post("/auth/register", json=account).status_code == 201
    assert client.post("/chat", json={"message": "Why?"}).status_code == 202
    wait_for(lambda: _told(client)["messages"][-1]["state"] == "complete")
    return client


def _told(client: FlaskClient, query: str = "") -> Any:
    response = client.get(f"/session/messages{query}")
    assert response.status_code == 200, response.text
    return response.get_json()


def _exported(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages of a page as the export has them, which tells the whole tree."""
    return [{name: value for name, value in each.items() if name != "siblings"} for each in messages]


def _add(client: FlaskClient, runtime: Runtime, texts: list[str], *, html: str | None = None) -> list[Message]:
    session_id = UUID(client.get("/session/current").get_json()["session_id"])
    now = rfc3339(datetime.now(UTC))
    messages = [Message(str(uuid7()), "assistant", text, "good", "complete", now, html) for text in texts]
    if client.get("/session/current").get_json()["anonymous"]:
        runtime.redis.rpush(keys(session_id)[3], *(message.dump() for message in messages))
    else:
        with runtime.database.writing() as db:
            for message in messages:
                runtime.transcript.keep(message, session_id, db)
    return messages


def test_pages_lead_to_the_first_message(person: FlaskClient, web_runtime: Runtime) -> None:
    _add(person, web_runtime, [f"{number}" for number in range(60)])
    newest = _told(person)
    assert [message["text"] for message in newest["messages"]] == [f"{number}" for number in range(10, 60)]
    assert newest["before"] == newest["messages"][0]["id"]
    first = _told(person, f"?before={newest['before']}")
    assert len(first["messages"]) == 12
    assert first["messages"][0]["text"] == "Why?"
    assert first["before"] is None
    assert first["cursor"] == newest["cursor"]
    exported = person.get("/session/export").get_json()
    assert exported["messages"] == _exported(first["messages"] + newest["messages"])
    assert len(_told(person, "?limit=200")["messages"]) == 62


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.5", "", "x", "9" * 5000, "1e2"])
def test_a_limit_is_a_number_from_1_to_200(person: FlaskClient, limit: str) -> None:
    response = person.get(f"/session/messages?limit={limit}")
    problem = response.get_json()
    assert (response.status_code, problem["field"]) == (422, "limit")
    assert problem["detail"] == "limit: a number from 1 to 200 is needed."


@pytest.mark.parametrize(
    ("before", "words"),
    [("x", "id of a message"), ("", "id of a message"), (SOME_ID, "no message with this id")],
)
def test_before_is_a_message_of_the_session(person: FlaskClient, before: str, words: str) -> None:
    response = person.get(f"/session/messages?before={before}")
    problem = response.get_json()
    assert (response.status_code, problem["field"]) == (422, "before")
    assert words in problem["detail"]


def test_another_sessions_message_is_no_place_in_this_one(person: FlaskClient, app: Flask) -> None:
    theirs = _told(person)["messages"][-1]["id"]
    stranger = app.test_client()
    stranger.post("/session/create", json={})
    assert stranger.get(f"/session/messages?before={theirs}").status_code == 422


def test_answers_are_kept_with_their_html_and_told_with_what_is_kept(
    person: FlaskClient, web_runtime: Runtime
) -> None:
    answer = _told(person)["messages"][-1]
    assert answer["html"].startswith("<p>Grüße")
    _add(person, web_runtime, ["**a**"], html="<p>as it was kept</p>\n")
    _add(person, web_runtime, ["**b**\n<i>"])
    assert [message["html"] for message in _told(person)["messages"]] == [
        None,
        answer["html"],
        "<p>as it was kept</p>\n",
        None,
    ]


@pytest.mark.parametrize("path", ["/session/messages", "/session/export"])
def test_reading_costs_little_whatever_models_have_written(
    person: FlaskClient, web_runtime: Runtime, path: str
) -> None:
    _add(person, web_runtime, [WIDE] * 30)
    person.get(path)
    before = time.thread_time()
    response = person.get(path)
    assert time.thread_time() - before < 0.2, "rendered, it took 30 s"
    assert len(response.data) < 200_000


def test_the_front_end_loads_nothing_that_only_workers_need() -> None:
    look = """
import sys, web.app, core.runtime
print([name for name in ("markdown_it", "nh3", "aiohttp", "uvloop") if name in sys.modules])
"""
    seen = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def _of_another_type(name: str) -> Callable[[Redis, Keys], None]:
    def damage(redis: Redis, at: Keys) -> None:
        key = getattr(at, name)
        redis.delete(key)
        redis.sadd(key, "poison")

    return damage


def _field(name: str, value: str | bytes | None) -> Callable[[Redis, Keys], None]:
    def damage(redis: Redis, at: Keys) -> None:
        redis.hdel(at.meta, name)
        if value is not None:
            redis.hset(at.meta, name, value)

    return damage


def _word(value: str | bytes) -> Callable[[Redis, Keys], None]:
    """A damaged message between the question and its answer."""

    def damage(redis: Redis, at: Keys) -> None:
        redis.linsert(at.words, "AFTER", str(redis.lindex(at.words, 0)), value)  # type: ignore[arg-type]

    return damage


def _event(place: int, fields: dict[Any, Any]) -> Callable[[Redis, Keys], None]:
    """A damaged event in the place of a sound one."""

    def damage(redis: Redis, at: Keys) -> None:
        entries = cast("list[tuple[str, dict[Any, Any]]]", redis.xrange(at.log))
        redis.delete(at.log)
        for number, (entry, sound) in enumerate(entries):
            redis.xadd(at.log, fields if number == place else sound, id=entry)

    return damage


def _changed(**fields: Any) -> str:
    message = Message(str(uuid7()), "assistant", SECRET, "good", "complete", rfc3339(datetime.now(UTC)))
    return json.dumps({**message.describe(), **fields})


SECRET = "what a person has written"
META: dict[str, Callable[[Redis, Keys], Any]] = {
    "no-epoch": _field("epoch", None),
    "an-epoch-that-is-none": _field("epoch", b"\xff-"),
    "no-offset": _field("offset", None),
    "an-offset-of-words": _field("offset", SECRET),
    "an-offset-too-far": _field("offset", str(2**63 - 1)),
    "meta-of-another-type": _of_another_type("meta"),
    "no-meta": lambda redis, at: redis.delete(at.meta),
}
"""The log is as good as lost."""
EVENTS = {
    "event-no-json": _event(1, {"type": "started", "data": SECRET}),
    "event-a-list": _event(1, {"type": "started", "data": "[1]"}),
    "event-no-utf-8": _event(1, {"type": b"\xff", "data": b'{"a":"\xfe"}'}),
    "event-without-fields": _event(1, {"poison": SECRET}),
    "event-of-two-lines": _event(1, {"type": "started\n\nevent: expired", "data": "{}"}),
    "event-deep": _event(1, {"type": "started", "data": "[" * 5000 + "]" * 5000}),
    "event-first": _event(0, {"type": "queued", "data": ""}),
}
WORDS = {
    "word-no-json": _word(SECRET),
    "word-no-utf-8": _word(b"\xff\xfe"),
    "word-empty": _word(""),
    "word-a-list": _word("[1, 2]"),
    "word-deep": _word("[" * 100_000),
    "word-huge": _word("x" * (MAX_LENGTH + 1)),
    "word-not-a-number": _word(_changed(problem={"status": float("nan")})),
    "word-without-text": _word('{"id":"01a21885-21e0-71e2-a323-d5d1be9a18e1","role":"user"}'),
    "word-another-role": _word(_changed(role="system")),
    "word-text-a-number": _word(_changed(text=5)),
    "word-id-a-word": _word(_changed(id=SECRET)),
    "word-no-moment": _word(_changed(created_at="yesterday")),
    "word-first-moment": _word(_changed(created_at="0001-01-01T00:00:00+14:00")),
    "word-seconds-as-text": _word(_changed(thinking_seconds="5")),
    "word-endless-seconds": _word(_changed(thinking_seconds=10**20)),
    "word-problem-a-list": _word(_changed(problem=["a"])),
    "word-reason-a-list": _word(_changed(problem={**SwitchboardError().problem(), "reason": []})),
}
LOG: dict[str, Callable[[Redis, Keys], Any]] = {
    "start": _field("start", SECRET),
    "attempt": _field("attempt", SECRET),
    "no-seq": _field("seq", None),
    "generation": _field("generation", "zzz"),
    "expires": _field("expires", SECRET),
    "thought-for": _field("thought_for", SECRET),
    "log-of-another-type": _of_another_type("log"),
    "stranger": lambda redis, at: redis.xadd(at.log, {"poison": SECRET}),
}
"""Its next writer begins it anew."""
HARMLESS: dict[str, Callable[[Redis, Keys], Any]] = {
    "answer": _field("answer", SECRET),
    "stop": _field("stop", b"\xff"),
    "placed": _field("placed", SECRET),
    "partial-of-another-type": _of_another_type("partial"),
    "thinking-of-another-type": _of_another_type("thinking"),
    "huge-thinking": lambda redis, at: redis.set(at.thinking, "x" * (MAX_LENGTH + 1)),
    "between-two": lambda redis, at: redis.xadd(
        at.log, {"a": "b"}, id=f"{int(str(redis.hget(at.meta, 'offset')))}-7"
    ),
}
GONE = {"words-of-another-type": _of_another_type("words")}
DAMAGES: dict[str, Callable[[Redis, Keys], Any]] = {**META, **EVENTS, **LOG, **WORDS, **HARMLESS, **GONE}


@pytest.fixture
def ending(app: Flask) -> Iterator[None]:
    """No stream outlives a test that fails."""
    yield
    context_of(app).hub.drain(0)


@pytest.mark.usefixtures("ending")
@pytest.mark.one_database
@pytest.mark.parametrize("name", DAMAGES)
def test_no_route_fails_over_what_stands_in_a_guests_keys(
    client: FlaskClient, web_runtime: Runtime, app: Flask, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert client.post("/chat", json={"message": "Why?"}).status_code == 202
    wait_for(lambda: _told(client)["messages"][-1]["state"] == "complete")
    sound, session_id = _told(client), client.get("/session/current").get_json()["session_id"]
    DAMAGES[name](web_runtime.redis, keys(UUID(session_id)))

    told = _told(client)
    assert told["messages"] == ([] if name in GONE else sound["messages"])
    assert told["cursor"] == (None if name in META else sound["cursor"])
    assert client.get("/session/export").get_json()["messages"] == _exported(told["messages"])
    page = client.get(f"/session/messages?before={sound['messages'][-1]['id']}")
    assert page.status_code == (422 if name in GONE else 200)
    epoch = sound["cursor"].partition("-")[0]
    listener = Listener(client, web_runtime, session_id, f"/chat/sse?last_event_id={epoch}-0")
    assert client.post("/session/refresh").status_code == 200

    assert client.post("/chat", json={"message": "And?"}).status_code == 202
    wait_for(lambda: _told(client)["messages"][-1]["state"] == "complete")
    after = _told(client)["messages"]
    assert after[:-2] == told["messages"]
    assert [message["text"] for message in after[-2:]] == ["And?", ANSWER]
    end = f'"generation_id":"{after[-1]["id"]}"'.encode()
    wait_for(lambda: any(b"event:done" in block and end in block for block in listener.blocks), what="its end")
    context_of(app).hub.drain(0)
    kinds = [event.type for event in listener.ended()]
    assert ("reset" in kinds) == (name in {**META, **EVENTS, **LOG}), kinds

    assert client.delete("/session").status_code == 204
    assert not web_runtime.redis.exists(*keys(UUID(session_id)))
    lines = [record.getMessage() for record in caplog.records if record.name == "core.conversation.damage"]
    assert all(session_id in line for line in lines)
    assert lines or name in {**LOG, **HARMLESS, "no-meta": None}
    assert SECRET not in caplog.text


@pytest.mark.one_database
@pytest.mark.parametrize("name", DAMAGES)
def test_a_guests_damaged_session_is_swept_and_claimed(
    client: FlaskClient, web_runtime: Runtime, app: Flask, name: str
) -> None:
    swept = app.test_client()
    for guest in (client, swept):
        assert guest.post("/chat", json={"message": "Why?"}).status_code == 202
        _answered(guest)
        DAMAGES[name](web_runtime.redis, keys(UUID(guest.get("/session/current").get_json()["session_id"])))
    words = _told(client)["messages"]
    account = {"email": f"{uuid7()}@example.org", "password": "correct horse battery"}
    assert client.post("/auth/register", json=account).status_code == 201
    assert client.post("/session/claim", json={}).status_code == 200
    assert _told(client)["messages"] == words
    session_id = swept.get("/session/current").get_json()["session_id"]
    _age(web_runtime, session_id, timedelta(hours=1))
    web_runtime.sweeper.sweep_expired()
    wait_for(lambda: not web_runtime.redis.exists(*keys(UUID(session_id))))


PROBLEMS = ["[1]", '"a"', "5", "{}", '{"status":"500"}', "[" * 5000 + "]" * 5000]


@pytest.mark.parametrize("poison", PROBLEMS, ids=["list", "text", "number", "empty", "half", "deep"])
def test_a_damaged_row_is_passed_over(
    client: FlaskClient, web_runtime: Runtime, caplog: pytest.LogCaptureFixture, poison: str
) -> None:
    account = {"email": f"{uuid7()}@example.org", "password": "correct horse battery"}
    assert client.post("/auth/register", json=account).status_code == 201
    assert client.post("/chat", json={"message": "Why?"}).status_code == 202
    wait_for(lambda: _told(client)["messages"][-1]["state"] == "complete")
    (damaged, *_) = _add(client, web_runtime, [SECRET])
    _add(client, web_runtime, ["sound"])
    set_problem = update(tables.Message).values(problem=text(f"'{poison}'"))
    with web_runtime.database.writing() as db:
        db.execute(set_problem.where(tables.Message.id == UUID(damaged.id)))

    texts = [message["text"] for message in _told(client)["messages"]]
    assert texts == ["Why?", ANSWER, "sound"]
    assert [message["text"] for message in client.get("/session/export").get_json()["messages"]] == texts
    assert [message["text"] for message in _told(client, "?limit=1")["messages"]] == ["sound"]
    assert [message["text"] for message in _told(client, f"?before={damaged.id}")["messages"]] == ["Why?", ANSWER]
    assert damaged.id in caplog.text
    assert SECRET not in caplog.text
    assert client.post("/chat", json={"message": "And?"}).status_code == 202
    wait_for(lambda: [message["text"] for message in _told(client)["messages"]] == [*texts, "And?", ANSWER])
    assert client.delete("/session").status_code == 204
