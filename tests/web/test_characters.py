"""Characters that not every store takes, at every door, on both databases."""

import json
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from core.conversation.keys import keys
from core.conversation.message import Message
from core.runtime import Runtime
from tests.support.waiting import wait_for

PASSWORD = "correct horse battery"
BAD = ["\0", "\ud83d", "\udc00", "\x1b[2J", "\u202e", "\x9b", "\u2028"]
"""Characters that a name has no use for."""
QUESTION = "Why\0 \ud83d is it \ude00?\x07"
TAKEN = "Why\ufffd \ufffd is it \ufffd?\x07"


def _user(client: FlaskClient) -> None:
    answer = client.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    assert answer.status_code == 201


def _send(client: FlaskClient, method: str, path: str, body: dict[str, Any]) -> Any:
    # As ASCII, where a half of a character can be spelt.
    return client.open(path, method=method, data=json.dumps(body), content_type="application/json")


def _said(client: FlaskClient) -> list[str]:
    """The conversation, once the answer has ended."""

    def ended() -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = client.get("/session/messages").get_json()["messages"]
        return messages if messages[-1]["role"] == "assistant" and messages[-1]["state"] == "complete" else []

    return [message["text"] for message in wait_for(ended, what="the answer ends")]


@pytest.mark.parametrize("path", ["/chat", "/chat/sse"])
@pytest.mark.parametrize("who", ["user", "guest"])
def test_a_question_is_taken_with_what_can_be_kept_of_it(client: FlaskClient, who: str, path: str) -> None:
    if who == "user":
        _user(client)
    answer = _send(client, "POST", path, {"message": QUESTION})
    assert answer.status_code == (202 if path == "/chat" else 200)
    answer.get_data()
    assert _said(client)[0] == TAKEN
    if who == "user":
        assert client.get("/sessions").get_json()["sessions"][0]["title"] == "Why\ufffd \ufffd is it \ufffd?"


def test_a_guests_conversation_with_such_a_question_is_claimed(client: FlaskClient) -> None:
    _send(client, "POST", "/chat", {"message": QUESTION})
    before = _said(client)
    _user(client)
    assert _send(client, "POST", "/session/claim", {}).status_code == 200
    assert _said(client) == before


def test_so_are_words_that_were_in_redis_before(client: FlaskClient, web_runtime: Runtime) -> None:
    client.post("/chat", json={"message": "Why?"})
    _said(client)
    words = keys(UUID(client.get("/session/current").get_json()["session_id"]))[3]
    first = Message.load(str(web_runtime.redis.lindex(words, 0)))
    web_runtime.redis.lset(words, 0, json.dumps({**vars(first), "text": "a\0b", "model": "\ud83d"}))
    _user(client)
    assert _send(client, "POST", "/session/claim", {}).status_code == 200
    assert _said(client)[0] == "a\ufffdb"


@pytest.mark.parametrize("character", BAD)
def test_a_name_of_anything_but_one_line_is_refused(client: FlaskClient, character: str) -> None:
    _user(client)
    assert _send(client, "POST", "/session/create", {}).status_code == 201
    for method, path, field in (("PATCH", "/session", "title"), ("POST", "/auth/keys", "name")):
        answer = _send(client, method, path, {field: f"a{character}b"})
        problem = answer.get_json(force=True)
        assert (answer.status_code, problem["type"]) == (422, "/problems/invalid-body")
        assert problem.get("field") == field or "half a character" in problem["detail"]


@pytest.mark.parametrize("name", ["\u200b", "\u2800", "\u3164", "\u00ad\u200d", "\ufeff \u2060"])
def test_a_name_of_which_nothing_can_be_seen_is_refused(client: FlaskClient, name: str) -> None:
    _user(client)
    assert _send(client, "POST", "/session/create", {}).status_code == 201
    assert _send(client, "PATCH", "/session", {"title": "Ships"}).status_code == 200
    for method, path, field in (("PATCH", "/session", "title"), ("POST", "/auth/keys", "name")):
        answer = _send(client, method, path, {field: name})
        problem = answer.get_json(force=True)
        assert (answer.status_code, problem["type"], problem["field"]) == (422, "/problems/invalid-body", field)
    assert client.get("/session/current").get_json()["title"] == "Ships"
    assert client.get("/auth/keys").get_json()["keys"] == []
    assert _send(client, "PATCH", "/session", {"title": f"a{name}b"}).status_code == 200


def test_a_title_begins_with_what_can_be_seen(client: FlaskClient) -> None:
    _user(client)
    assert _send(client, "POST", "/chat", {"message": "\u200b" * 80 + "Why?"}).status_code in (200, 202)
    assert client.get("/sessions").get_json()["sessions"][0]["title"] == "Why?"


@pytest.mark.parametrize("character", BAD)
@pytest.mark.parametrize("as_user", [True, False])
def test_nothing_else_is_more_than_refused(client: FlaskClient, character: str, as_user: bool) -> None:
    """Every text of every body, and what is read from addresses, cookies and headers."""
    if as_user:
        _user(client)
    _send(client, "POST", "/session/create", {})
    odd, long = f"a{character}b", character * 300
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/session/create", {"model": odd}),
        ("POST", "/session/model", {"model": odd}),
        ("POST", "/config/models/switch", {"model": odd}),
        ("POST", "/chat", {"message": "Why?", "model": odd}),
        ("POST", "/session/open", {"session_id": odd}),
        ("POST", "/auth/register", {"email": f"{odd}@example.org", "password": PASSWORD}),
        ("POST", "/auth/login", {"email": odd, "password": odd}),
        ("POST", "/auth/password", {"current_password": odd, "new_password": f"{PASSWORD}{character}"}),
        ("DELETE", "/auth/me", {"password": odd}),
        ("POST", "/auth/logout", {odd: odd}),
        ("PATCH", "/session", {"title": long}),
        ("POST", "/auth/keys", {"name": long}),
    ]
    for method, path, body in bodies:
        answer = _send(client, method, path, body)
        assert 400 <= answer.status_code < 500, (method, path, answer.get_data())
    in_url = quote(odd.encode("utf-8", "surrogatepass"))
    for path in (
        f"/tasks/{in_url}",
        f"/sessions?before={in_url}&limit={in_url}",
        f"/chat/sse?last_event_id={in_url}&generation_id={in_url}",
        f"/auth/logins/{in_url}",
        f"/auth/oidc/callback?state={in_url}&code={in_url}",
    ):
        assert client.get(path).status_code < 500, path
    in_header = odd.encode("utf-8", "surrogatepass").decode("latin-1").replace("\0", "%00")
    for header in ("X-Session-ID", "Last-Event-ID", "If-Match", "Idempotency-Key", "Authorization", "Cookie"):
        value = {"Authorization": f"Bearer {in_header}", "Cookie": f"switchboard={in_header}"}.get(header, in_header)
        for method, path in (("GET", "/session/current"), ("POST", "/session/model"), ("GET", "/chat/sse")):
            if path == "/chat/sse" and header != "X-Session-ID":
                continue  # an endless answer
            headers = {header: value.replace("\r", "").replace("\n", "")}
            sent = {"model": "good"} if method == "POST" else None
            answer = client.open(path, method=method, headers=headers, json=sent, buffered=False)
            assert answer.status_code < 500, (path, header)
            answer.close()
