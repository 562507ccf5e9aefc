"""The tree of messages over HTTP: edits, other answers, more of one, and branches."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from tests.conftest import SOME_ID
from tests.support.provider import ANSWER
from tests.web.api.test_session import _answered, _create, _problem
from tests.web.sse import events


def _messages(client: FlaskClient) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = client.get("/session/messages").get_json()["messages"]
    return messages


def _ask(client: FlaskClient, **body: Any) -> str:
    response = client.post("/chat", json=body)
    assert response.status_code == 202
    _answered(client)
    answer: str = response.get_json()["generation_id"]
    return answer


def test_a_conversation_is_edited_answered_again_and_continued(client: FlaskClient) -> None:
    _create(client)
    first = _ask(client, message="One?")
    _ask(client, message="Two?", parent=first)
    question = _messages(client)[0]["id"]
    edited = client.post("/chat/sse", json={"message": "One, otherwise?", "parent": None})
    told = [event.data for event in events([edited.get_data()]) if event.type == "queued"]
    answer, beside = told[0]["answer"], told[0]["question"]
    _answered(client)
    page = _messages(client)
    assert [(each["id"], each["parent"], each["siblings"]) for each in page] == [
        (beside, None, [question, beside]),
        (answer, beside, [answer]),
    ]

    turned = client.post("/session/branch", json={"message_id": question})
    assert turned.status_code == 200
    page = _messages(client)
    assert turned.get_json()["leaf"] == page[-1]["id"]
    assert [each["text"] for each in page] == ["One?", ANSWER, "Two?", ANSWER]

    key = {"Idempotency-Key": str(uuid7())}
    body = {"message_id": first, "model": "echo-length"}
    again = [client.post("/chat/regenerate", json=body, headers=key).get_json() for _ in range(2)]
    assert again[0] == again[1]
    _answered(client)
    page = _messages(client)
    assert [(each["text"], each["model"]) for each in page] == [("One?", None), ("2", "echo-length")]
    assert page[-1]["siblings"] == [first, again[0]["generation_id"]]
    assert client.get("/session/current").get_json()["model"] == "good"

    assert client.post("/chat/continue").status_code == 202
    _answered(client)
    assert [(each["id"], each["text"]) for each in _messages(client)] == [
        (page[0]["id"], "One?"),
        (page[1]["id"], "24"),
    ]
    whole = client.get("/session/export").get_json()["messages"]
    assert [each["text"] for each in whole] == ["One?", ANSWER, "Two?", ANSWER, "One, otherwise?", ANSWER, "24"]
    assert all(each["parent"] is None or each["parent"] in {other["id"] for other in whole} for each in whole)


@pytest.mark.parametrize("named", [SOME_ID, "nobody", 7, "\ud800", "0" * 10_000, [], SOME_ID.upper() + "\0"])
def test_what_names_no_message_is_refused_with_its_field(client: FlaskClient, named: Any) -> None:
    _create(client)
    _ask(client, message="Why?")
    slug = "unknown-message" if named == SOME_ID else "invalid-body"
    for path, field in (
        ("/chat", "parent"),
        ("/chat/regenerate", "message_id"),
        ("/chat/continue", "message_id"),
        ("/session/branch", "message_id"),
    ):
        body = {field: named} | ({"message": "And?"} if path == "/chat" else {})
        response = client.post(path, data=json.dumps(body), content_type="application/json")
        problem = _problem(response, 422, slug)
        assert problem.get("field", field) == field
    assert len(_messages(client)) == 2


def test_what_can_not_be_done_says_why(client: FlaskClient) -> None:
    _create(client)
    _problem(client.post("/chat/regenerate"), 409, "nothing-to-regenerate")
    _problem(client.post("/chat/continue"), 409, "answer-whole")
    _problem(client.post("/chat/regenerate", json={"model": "nobody"}), 422, "unknown-model")
    response = client.post("/chat", json={"message": "Why?", "model": "paused"})
    live = response.get_json()["generation_id"]
    question = _messages(client)[0]["id"]
    for path, body in (
        ("/chat", {"message": "And?", "parent": None}),
        ("/chat/regenerate", {}),
        ("/chat/regenerate", {"message_id": question}),
        ("/chat/continue", {}),
        ("/session/branch", {"message_id": question}),
    ):
        _problem(client.post(path, json=body), 409, "generation-in-progress")
    client.post("/chat/stop")
    _answered(client)
    assert _messages(client)[-1]["id"] == live
    _problem(client.post("/chat/continue"), 409, "answer-whole")
