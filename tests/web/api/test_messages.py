"""GET /session/messages: pages, and HTML that is made once, when an answer ends, and not here."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from core.clock import rfc3339
from core.conversation.keys import keys
from core.conversation.message import Message
from core.runtime import Runtime
from tests.conftest import SOME_ID
from tests.support.waiting import wait_for

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
    assert exported["messages"] == first["messages"] + newest["messages"]
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
