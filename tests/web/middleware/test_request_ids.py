import json
import logging
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from core.settings import Settings
from tests.support.waiting import wait_for
from web.middleware import access_log


def _worker_lines(stack: Settings, **fields: str) -> list[dict[str, Any]]:
    """The worker's lines with these fields."""
    lines = (stack.state_dir / "worker.log").read_text().splitlines()
    objects = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in objects if fields.items() <= line.items()]


def _json(answer: TestResponse) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.get_data())
    return found


@pytest.fixture
def access(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, access_log.logger.name)
    return caplog


def _asked(access: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the lines about requests tell."""
    names = ("request_id", "session_id", "method", "route", "status")
    records = [record.__dict__ for record in access.records if record.name == access_log.logger.name]
    assert all(record["ms"] >= 0 for record in records)
    return [{name: record[name] for name in names if name in record} for record in records]


@pytest.mark.parametrize("given", ["r", "4bf92f3577b34da6a3ce929d0e0e4736", "Root=1-67891233-abcdef012345", "x" * 64])
def test_a_clients_own_id_is_taken(client: FlaskClient, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize(
    "given", ["", " ", "x" * 65, "a b", "a\tb", "é", '"quoted"', "-x", "a,b", "a/b", "<b>", "x%0a"]
)
def test_an_id_that_is_not_sane_is_replaced(client: FlaskClient, given: str) -> None:
    first, second = (client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] for _ in "ab")
    assert UUID(first) != UUID(second)


@pytest.mark.parametrize("path", ["/nowhere", "/session/current", "/static/nothing.js"])
def test_a_refusal_has_one_too(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"X-Request-ID": "mine"})
    assert answer.status_code >= 400
    assert answer.headers["X-Request-ID"] == "mine"


def test_a_request_is_one_line_without_what_was_said(client: FlaskClient, access: pytest.LogCaptureFixture) -> None:
    client.get(
        "/sesame?q=sesame", headers={"X-Request-ID": "mine", "User-Agent": "sesame", "Cookie": "sesame=1"}
    ).close()
    assert _asked(access) == [{"request_id": "mine", "method": "GET", "route": "none", "status": 404}]
    assert "sesame" not in str([record.__dict__ for record in access.records])


def test_a_request_with_a_session_has_its_id(client: FlaskClient, access: pytest.LogCaptureFixture) -> None:
    created = client.post("/session/create")
    session_id = _json(created)["session_id"]
    created.close()
    access.clear()
    client.get("/session/current?x=1", headers={"X-Request-ID": "mine"}).close()
    asked = {"request_id": "mine", "session_id": session_id, "method": "GET", "route": "/session/current"}
    assert _asked(access) == [{**asked, "status": 200}]


def test_a_stream_is_logged_at_its_end(client: FlaskClient, access: pytest.LogCaptureFixture) -> None:
    client.post("/session/create").close()
    access.clear()
    answer = client.post("/chat/sse", json={"message": "hello"})
    assert "event:done" in answer.get_data(as_text=True)
    answer.close()
    assert [(each["route"], each["status"]) for each in _asked(access)] == [("/chat/sse", 200)]


def test_at_the_usual_level_no_request_is_logged(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    app.test_client().get("/healthz").close()
    assert not caplog.records


def test_a_commands_worker_logs_its_requests_id(client: FlaskClient, stack: Settings) -> None:
    answer = client.post("/session/create", headers={"X-Request-ID": "creates-one"})
    session_id = _json(answer)["session_id"]
    found = wait_for(
        lambda: _worker_lines(stack, request_id="creates-one", message="command ended"), what="it is logged"
    )
    assert [(each["session_id"], each["outcome"], each["task"]) for each in found] == [
        (session_id, "succeeded", "sessions.create")
    ]


def test_an_answers_worker_logs_the_id_of_the_questions_request(client: FlaskClient, stack: Settings) -> None:
    client.post("/session/create")
    session_id = _json(client.get("/session/current"))["session_id"]
    accepted = client.post("/chat", json={"message": "hello"}, headers={"X-Request-ID": "asks-one"})
    generation_id = _json(accepted)["generation_id"]
    (line,) = wait_for(
        lambda: _worker_lines(stack, generation_id=generation_id, message="answer ended"), what="it is logged"
    )
    expected = {
        "level": "info",
        "request_id": "asks-one",
        "session_id": session_id,
        "model": "good",
        "attempt": 1,
        "outcome": "done",
        "reason": "stop",
    }
    assert expected.items() <= line.items()
    assert 0 <= line["first_token_ms"] <= line["ms"]
    assert line["prompt_tokens"] > 0
    assert line["completion_tokens"] > 0


def test_a_failed_answer_is_logged_with_its_reason(client: FlaskClient, stack: Settings) -> None:
    client.post("/session/create")
    client.post("/session/model", json={"model": "error-in-stream"})
    generation_id = _json(client.post("/chat", json={"message": "hello"}))["generation_id"]
    (line,) = wait_for(
        lambda: _worker_lines(stack, generation_id=generation_id, message="answer ended"), what="it is logged"
    )
    assert (line["outcome"], line["reason"]) == ("failed", "server-error")
    warnings = _worker_lines(stack, generation_id=generation_id, level="warning")
    assert {each["request_id"] for each in warnings} == {line["request_id"]}
