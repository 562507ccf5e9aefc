"""Messages while an answer is live: refused, queued, or interrupting it; and another model for it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from tests.support.provider import ANSWER, STORY, ProviderServer
from tests.support.waiting import wait_for
from tests.web.api.test_session import _answered, _create, _problem
from tests.web.sse import events


@pytest.fixture
def busy(client: FlaskClient, provider: ProviderServer) -> FlaskClient:
    """A guest whose answer is in the middle of being written."""
    provider.go_on.clear()
    _create(client)
    assert client.post("/chat", json={"message": "Why?", "model": "paused"}).status_code == 202
    wait_for(lambda: _messages(client)[-1]["text"].startswith("Wait."))
    return client


def _messages(client: FlaskClient) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = client.get("/session/messages").get_json()["messages"]
    return messages


def _queue(client: FlaskClient, message: str, **options: Any) -> dict[str, Any]:
    response = client.post("/chat", json={"message": message, "while_busy": "queue"}, **options)
    assert response.status_code == 202
    accepted: dict[str, Any] = response.get_json()
    assert accepted["state"] == "waiting"
    return accepted


def test_a_message_waits_is_edited_and_answered_on_its_own_stream(
    app: Flask, busy: FlaskClient, provider: ProviderServer
) -> None:
    _problem(busy.post("/chat", json={"message": "No?"}), 409, "generation-in-progress")
    key = {"Idempotency-Key": str(uuid7())}
    first, again = _queue(busy, "First?", headers=key), _queue(busy, "First?", headers=key)
    assert first == again
    second = _queue(busy, "Second?")
    assert (first["position"], second["position"]) == (0, 1)
    listed = busy.get("/session/queue").get_json()["waiting"]
    assert [(each["generation_id"], each["message"]) for each in listed] == [
        (first["generation_id"], "First?"),
        (second["generation_id"], "Second?"),
    ]
    assert busy.get("/session/export").get_json()["waiting"] == listed

    one = f"/session/queue/{first['generation_id']}"
    assert busy.patch(one, json={"message": "Better? \ud83c"}).get_json()["message"] == "Better? \ufffd"
    for bad, status in (("", 422), ("\u200b", 422), ("x" * 40_000, 413), (7, 422)):
        assert busy.patch(one, json={"message": bad}).status_code == status
    _problem(busy.patch(f"/session/queue/{uuid7()}", json={"message": "x"}), 404, "not-waiting")
    other = app.test_client()
    _create(other)
    _problem(other.patch(one, json={"message": "Mine?"}), 404, "not-waiting")
    _problem(other.delete(one), 404, "not-waiting")

    with ThreadPoolExecutor(1) as reading:
        body = busy.post("/chat/sse", json={"message": "Third?", "while_busy": "queue"})
        told = reading.submit(lambda: list(events(body.iter_encoded())))
        third = busy.get("/session/queue").get_json()["waiting"][-1]["generation_id"]
        assert busy.delete(f"/session/queue/{third}").status_code == 204
        assert told.result(20)[-1].type == "removed"

    provider.go_on.set()
    wait_for(lambda: len(_messages(busy)) == 6 and _messages(busy)[-1]["state"] == "complete")
    assert [each["text"] for each in _messages(busy) if each["role"] == "user"] == [
        "Why?",
        "Better? \ufffd",
        "Second?",
    ]
    _problem(busy.delete(one), 404, "not-waiting")


def test_an_interrupting_message_is_answered_at_once(busy: FlaskClient) -> None:
    response = busy.post("/chat", json={"message": "Stop that!", "model": "good", "while_busy": "interrupt"})
    assert response.status_code == 202
    wait_for(lambda: [each["state"] for each in _messages(busy)][1::2] == ["stopped", "complete"])
    messages = _messages(busy)
    assert messages[1]["text"].startswith("Wait.")
    assert (messages[2]["text"], messages[3]["text"]) == ("Stop that!", ANSWER)
    problem = _problem(busy.post("/chat", json={"message": "x", "while_busy": "soon"}), 422, "invalid-body")
    assert problem["field"] == "while_busy"


@pytest.mark.parametrize("path", ["/session/model", "/config/models/switch"])
def test_a_live_answer_is_handed_over(busy: FlaskClient, path: str) -> None:
    etag = busy.get("/session/current").headers.get("ETag")
    response = busy.post(path, json={"model": "story", "live": True}, headers={"If-Match": '"2"'})
    assert (response.status_code, response.get_json()["model"]) == (200, "story"), etag
    _problem(
        busy.post(path, json={"model": "good", "live": True}, headers={"If-Match": '"2"'}), 412, "version-conflict"
    )
    _problem(busy.post(path, json={"model": "good", "live": "yes"}), 422, "invalid-body")
    _answered(busy)
    answer = _messages(busy)[-1]
    at = answer["handovers"][0]["at"]
    assert answer["handovers"] == [{"from": "paused", "to": "story", "at": at}]
    assert (answer["model"], answer["text"][at:]) == ("story", STORY[at:])
