"""A conversation that a request brings is answered over both databases, and hostile ones are refused by field."""

import json
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from uuid_utils.compat import uuid7

from core.runtime import Runtime
from core.stores.tables import Generation, Session
from tests.support.provider import ANSWER, ProviderServer
from tests.support.waiting import wait_for
from web.api.openai import completion
from web.context import context_of
from web.streaming.wire import Broken

PATH = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "good", "messages": [{"role": "user", "content": "Why?"}]}


@pytest.fixture
def user(client: FlaskClient) -> FlaskClient:
    """Somebody logged in."""
    body = {"email": f"{uuid7()}@example.org", "password": "correct horse battery"}
    assert client.post("/auth/register", json=body).status_code == 201
    return client


def test_an_answer_is_whole_or_streamed_and_nothing_of_it_stays(user: FlaskClient, web_runtime: Runtime) -> None:
    me = user.get("/auth/me").get_json()
    whole = user.post(PATH, json=ASKED).get_json()
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": ANSWER, "refusal": None}
    streamed = user.post(PATH, json={**ASKED, "stream": True})
    assert streamed.mimetype == "text/event-stream"
    *chunks, done = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    deltas = [json.loads(chunk)["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == ANSWER
    with web_runtime.database.reading() as db:
        mine = select(Session.id).where(Session.owner_id == UUID(me["user_id"]))
        assert db.scalars(mine).all() == []
        assert db.scalars(select(Generation.id).where(Generation.session_id.in_(mine))).all() == []


def test_who_waits_long_for_a_whole_answer_gets_spaces_before_it(
    user: FlaskClient, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "WHOLE_STATUS_WAIT", 0.0)
    waiting = user.post(PATH, json={**ASKED, "model": "paused"}, buffered=False)
    assert (waiting.status_code, waiting.mimetype) == (200, "application/json")
    pieces = waiting.iter_encoded()
    assert next(piece for piece in pieces if piece) == b" "
    provider.go_on.set()
    message = json.loads(b"".join(pieces))["choices"][0]["message"]["content"]
    assert message.startswith("Wait")
    assert message.endswith(" for it")


def test_what_fails_after_the_status_of_a_whole_answer_is_no_answer(
    user: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "WHOLE_STATUS_WAIT", 0.0)
    told = b""
    with pytest.raises(Broken):
        for piece in user.post(PATH, json={**ASKED, "model": "rejected"}, buffered=False).iter_encoded():
            told += piece
    assert json.loads(told)["error"]["code"] == "provider_failed"


def test_who_leaves_before_a_whole_answer_ends_it(
    user: FlaskClient, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "WHOLE_STATUS_WAIT", 0.0)
    provider.disconnected.clear()
    before = len(provider.requests)
    waiting = user.post(PATH, json={**ASKED, "model": "paused"}, buffered=False)
    wait_for(lambda: len(provider.requests) > before)
    waiting.close()
    assert provider.disconnected.wait(10)
    wait_for(lambda: user.get("/usage").get_json()["usage"], what="the question is counted")


def test_a_process_that_stops_ends_an_answer_between_two_words_that_keep_coming(
    user: FlaskClient, app: Flask
) -> None:
    streamed = user.post(PATH, json={**ASKED, "model": "story", "stream": True}, buffered=False)
    chunks = streamed.iter_encoded()
    next(chunk for chunk in chunks if b"content" in chunk)
    context_of(app).hub.drain(1.0)  # a moment within it: the reader is told of it before
    rest = b"".join(chunks)
    assert b'"code":"answer_interrupted"' in rest
    assert b"[DONE]" not in rest


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "user", "content": " \u200b"}]}, "messages"),
    ({"messages": [{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": ""}]}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "audio": {"id": "x"}}]}, "messages[0].audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"model": "m" * 65}, "model"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"seed": 2**64}, "seed"),
    ({"max_tokens": 5.5}, "max_tokens"),
    ({"stop": [""]}, "stop"),
    ({"stop": [7]}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"n": True}, "n"),
    ({"user": "u" * 513}, "user"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"store": True}, "store"),
]


def test_what_is_wrong_is_named(user: FlaskClient) -> None:
    for change, param in WRONG:
        response = user.post(PATH, json={**ASKED, **change})
        assert (response.status_code, response.get_json()["error"]["param"]) == (400, param)
        assert response.get_json()["error"]["message"]
    assert "/v1/models" in user.post(PATH, json={**ASKED, "model": "nothing"}).get_json()["error"]["message"]


def test_a_conversation_beyond_the_models_context_is_refused_before_all_else(
    user: FlaskClient, provider: ProviderServer
) -> None:
    turns = [{"role": role, "content": "Why is that so? " * 20} for role in ("user", "assistant") * 10]
    asked = {**ASKED, "messages": [*turns, *ASKED["messages"]]}
    before = len(provider.requests)
    for stream in (False, True):
        refused = user.post(PATH, json={**asked, "stream": stream})
        error = refused.get_json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
        assert "600 tokens" in error["message"]
        assert "RateLimit" not in refused.headers  # no limit has counted it
    assert len(provider.requests) == before
    assert user.get("/usage").get_json()["usage"] == []
    assert user.post(PATH, json={**asked, "messages": turns[:4] + ASKED["messages"]}).status_code == 200


def test_every_chunk_names_the_model_that_writes(user: FlaskClient) -> None:
    streamed = user.post(PATH, json={**ASKED, "model": "falls-back", "stream": True})
    chunks = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: {")]
    assert {json.loads(chunk)["model"] for chunk in chunks} == {"good"}


def test_a_refusal_is_what_its_message_says(user: FlaskClient, provider: ProviderServer) -> None:
    declined = {"role": "assistant", "content": None, "refusal": "I will not."}
    asked = {**ASKED, "messages": [*ASKED["messages"], declined, {"role": "user", "content": "Please?"}]}
    assert user.post(PATH, json=asked).status_code == 200
    assert "I will not." in [turn["content"] for turn in provider.requests[-1]["messages"]]


def test_what_would_fail_again_is_not_sent_again(user: FlaskClient) -> None:
    for model, should in (("empty", "false"), ("wants-a-tool", "false"), ("unauthorized", "false"), ("broken", None)):
        for stream in (False, True):
            failed = user.post(PATH, json={**ASKED, "model": model, "stream": stream})
            assert (failed.status_code, failed.headers.get("X-Should-Retry")) == (502, should), model


def test_bodies_are_bounded_and_must_be_json(user: FlaskClient) -> None:
    huge = user.post(PATH, data=b"x" * (4 * 1024 * 1024 + 1), content_type="application/json")
    assert (huge.status_code, huge.get_json()["error"]["type"]) == (413, "invalid_request_error")
    assert "4,194,304 bytes" in huge.get_json()["error"]["message"]
    for raw in (b"", b"[]", b'{"model"', b"NaN", b'{"temperature": NaN}'):
        assert user.post(PATH, data=raw, content_type="application/json").status_code == 400
    assert user.post(PATH, data=b"{}", content_type="text/plain").status_code == 415


def test_a_whole_number_may_be_written_with_a_fraction_of_nothing(
    user: FlaskClient, provider: ProviderServer
) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        assert user.post(PATH, json={**ASKED, name: 5.0, "seed": 7.0, "n": 1.0}).status_code == 200
        sent = provider.requests[-1]
        assert [(type(sent[each]), sent[each]) for each in ("max_tokens", "seed")] == [(int, 5), (int, 7)]


def test_half_characters_and_nothing_asked_for_do_no_harm(user: FlaskClient) -> None:
    harmless = {"tools": [], "tool_choice": "none", "n": 1, "logprobs": False, "response_format": {"type": "text"}}
    body = json.dumps({**ASKED, **harmless, "anything": {"else": 1}}).replace("Why?", "Why\\ud800\\u0000?")
    assert user.post(PATH, data=body, content_type="application/json").status_code == 200
