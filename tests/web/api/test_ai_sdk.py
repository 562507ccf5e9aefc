"""/api/chat: the same answers, limits and owners as everywhere, in chunks. tests/clients has the real clients."""

import json
from collections.abc import Generator, Iterable
from itertools import islice
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from core.conversation.keys import keys
from core.runtime import Runtime
from tests.support.provider import ANSWER, ProviderServer
from tests.support.waiting import wait_for
from tests.web.api.test_messages import _add
from tests.web.api.test_session import _answered, _create, _problem
from web.ai_sdk.requests import MAX_UI_CHAT
from web.streaming.wire import Broken

LONE_FINISH = [{"type": "finish"}]


def _message(text: str, **fields: Any) -> dict[str, Any]:
    return {"id": "m", "role": "user", "parts": [{"type": "text", "text": text}], **fields}


def _ask(text: str = "Why?", **fields: Any) -> dict[str, Any]:
    return {"id": "chat", "trigger": "submit-message", "messages": [_message(text)], "mine": 1, **fields}


def _chunks(body: Iterable[bytes]) -> Generator[dict[str, Any], None, None]:
    """As they come, up to the stream's own end; without it a client takes the stream for broken."""
    rest = ""
    for block in body:
        *frames, rest = (rest + block.decode()).split("\n\n")
        for data in (frame.removeprefix("data: ") for frame in frames if frame.startswith("data: ")):
            if data == "[DONE]":
                return
            yield json.loads(data)
    raise AssertionError(f"no end: {rest}")


def _text(chunks: Iterable[dict[str, Any]]) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


def _stream(client: FlaskClient, chat_id: str, query: str = "") -> Generator[dict[str, Any], None, None]:
    response = client.get(f"/api/chat/{chat_id}/stream{query}")
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    return _chunks(response.iter_encoded())


ODD_IDS = [
    "a/b",
    "a//b",
    "/a",
    "a/",
    "a%2Fb",
    "a%2F..%2Fb",
    "%C3%BC%20%F0%9F%8E%89",
    "a%00b",
    "a%0Ab",
    "%0A",
    "%ff",
    "stream",
    "x" * 2000,
]


def test_a_chat_may_have_any_id_that_a_client_makes_up(client: FlaskClient, provider: ProviderServer) -> None:
    for odd in ODD_IDS:
        assert client.get(f"/api/chat/{odd}/stream", follow_redirects=True).status_code == 204, odd
        assert client.post(f"/api/chat/{odd}/stop", json={}, follow_redirects=True).get_json()["type"], odd
    provider.go_on.clear()
    asked = client.post("/api/chat", json={**_ask(model="paused"), "id": "a/b"}, buffered=False)
    chunks = _chunks(asked.iter_encoded())
    assert next(chunks)["type"] == "start"
    for odd in ODD_IDS:
        assert client.get(f"/api/chat/{odd}/messages", follow_redirects=True).status_code == 200, odd
    assert next(_stream(client, "a/b"))["type"] == "start"
    assert client.post("/api/chat/a/b/stop", json={}).status_code == 202
    assert _text(chunks).startswith("Wait")


def test_an_answer_can_be_gone_on_with_at_every_chunk(client: FlaskClient) -> None:
    assert client.get("/api/chat/anything/stream").status_code == 204
    assert list(_stream(client, "anything", "?startIndex=0")) == LONE_FINISH

    response = client.post("/api/chat", json=_ask(model="thinks"))
    assert response.headers["X-Vercel-AI-UI-Message-Stream"] == "v1"
    assert response.headers["Set-Cookie"].startswith("switchboard=")
    chunks = list(_chunks(response.iter_encoded()))
    generation = response.headers["X-Workflow-Run-Id"]
    assert chunks[0]["messageId"] == generation
    session_id = chunks[0]["messageMetadata"]["session_id"]
    assert session_id == client.get("/session/current").get_json()["session_id"]
    assert _text(chunks) == ANSWER

    for at in range(len(chunks) + 2):
        assert list(_stream(client, generation, f"?startIndex={at}")) == (chunks[at:] or LONE_FINISH)
    for back in (1, 5, len(chunks) + 5):  # as `WorkflowChatTransport` counts with an `initialStartIndex` below 0
        tail = client.get(f"/api/chat/{generation}/stream?startIndex=-{back}")
        assert tail.headers["X-Workflow-Stream-Tail-Index"] == str(len(chunks) - 1)
        assert list(_chunks(tail.iter_encoded())) == chunks[-back:]
    # By the session's id, or any that names none: what was missed of its latest, and nothing when nothing was.
    assert list(_stream(client, session_id, "?startIndex=7")) == chunks[7:]
    for named in (session_id, "anything"):
        for start in (0, -5):
            assert list(_stream(client, named, f"?startIndex={start}")) == LONE_FINISH
        assert client.get(f"/api/chat/{named}/stream").status_code == 204

    question, answer = client.get(f"/api/chat/{session_id}/messages").get_json()
    assert [part["text"] for part in question["parts"]] == ["Why?"]
    assert (answer["id"], answer["metadata"]["session_id"]) == (generation, session_id)
    page = client.get(f"/api/chat/{session_id}/messages?limit=1")
    assert (page.get_json(), page.headers["Link"]) == ([answer], f'<?limit=1&before={generation}>; rel="prev"')
    assert client.get(f"/api/chat/{session_id}/messages?limit=1&before={generation}").get_json() == [question]


def test_whoever_comes_back_is_told_what_there_is_and_what_comes(
    client: FlaskClient, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    first = client.post("/api/chat", json=_ask(model="paused"))
    generation = first.headers["X-Workflow-Run-Id"]
    session_id = client.get("/session/current").get_json()["session_id"]
    told = _chunks(first.iter_encoded())
    next(chunk for chunk in told if chunk["type"] == "text-delta")
    assert [message["role"] for message in client.get("/api/chat/x/messages").get_json()] == ["user"]
    for named in (session_id, generation, "anything"):
        stream = _stream(client, named)
        kinds = [next(stream)["type"] for _ in range(4)]
        assert kinds == ["start", "start-step", "text-start", "text-delta"]
        stream.close()
    tail = client.get(f"/api/chat/{session_id}/stream?startIndex=-1")
    last = next(_chunks(tail.iter_encoded()))
    whole, exact = _stream(client, session_id), _stream(client, generation, "?startIndex=0")
    head = list(islice(exact, int(tail.headers["X-Workflow-Stream-Tail-Index"]) + 1))
    assert head[-1] == last
    busy = _problem(client.post("/api/chat", json=_ask("And now?")), 409, "generation-in-progress")
    assert "answer" in busy["detail"]
    provider.go_on.set()
    assert (
        _text(whole) == _text([*head, *exact]) == client.get("/session/messages").get_json()["messages"][-1]["text"]
    )

    # An id that names a generation stops no other.
    provider.go_on.clear()
    second = client.post("/api/chat", json=_ask(model="paused"))
    _problem(client.post(f"/api/chat/{generation}/stop", json={}), 409, "nothing-to-stop")
    assert client.get(f"/api/chat/{generation}/stream").status_code == 204
    assert client.post(f"/api/chat/{second.headers['X-Workflow-Run-Id']}/stop").status_code == 202
    assert [chunk["type"] for chunk in _chunks(second.iter_encoded())][-2:] == ["abort", "finish"]
    provider.go_on.set()


def test_what_cant_be_told_to_its_end_breaks(
    client: FlaskClient, web_runtime: Runtime, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    first = client.post("/api/chat", json=_ask(model="paused"))
    generation = first.headers["X-Workflow-Run-Id"]
    session = client.get("/session/current").get_json()["session_id"]
    told = _chunks(first.iter_encoded())
    next(chunk for chunk in told if chunk["type"] == "text-delta")

    at = keys(session)
    web_runtime.redis.xtrim(at.log, maxlen=1, approximate=False)
    _problem(client.get(f"/api/chat/{generation}/stream?startIndex=2"), 410, "position-lost")
    assert next(_stream(client, generation, "?startIndex=0"))["type"] == "start"

    web_runtime.redis.delete(*at)  # Redis has lost it; the answer goes on in another log
    with pytest.raises(Broken):
        list(told)
    provider.go_on.set()
    _answered(client)
    assert "".join(
        part["text"] for part in client.get("/api/chat/x/messages").get_json()[-1]["parts"] if "text" in part
    ).endswith(" for it")


LONG = "é" * 16 * 1024 + "!"
REFUSED: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "no message": ({"id": "chat", "messages": []}, 422, "messages"),
    "an answer at the end": ({"messages": [_message("x", role="assistant")]}, 422, "messages.0.role"),
    "a file": (
        {
            "messages": [
                _message("x"),
                _message("x", parts=[{"type": "text", "text": "x"}, {"type": "file", "url": "x"}]),
            ]
        },
        422,
        "messages.1.parts.1",
    ),
    "a part of no type": ({"message": _message("x", parts=[{}])}, 422, "message.parts.0"),
    "a text that is none": (
        {"message": _message("x", parts=[{"type": "text", "text": 1}])},
        422,
        "message.parts.0.text",
    ),
    "a part that is none": ({"message": _message("x", parts=[1])}, 422, "message.parts.0"),
    "nothing to see": ({"message": _message(" \u200b")}, 422, "message.parts"),
    "no parts": ({"message": _message("x", parts=[])}, 422, "message.parts"),
    "too long": ({"message": _message(LONG)}, 413, "message"),
    "too long among others": ({"messages": [_message("x"), _message(LONG)]}, 413, "messages.1"),
    "another trigger": (_ask(trigger="delete"), 422, "trigger"),
    "an id of another type": (_ask(id=1), 422, "id"),
    "an id that never ends": (_ask(id="x" * 201), 422, "id"),
    "a model that there is not": (_ask(model="none"), 422, "model"),
    "an edit that can't be placed": ({"message": _message("x"), "messageId": "mine"}, 422, "messageId"),
    "many mistakes": ({"messages": [{}] * 100_000}, 422, "messages.0.role"),
}


def test_what_is_wrong_is_named(client: FlaskClient) -> None:
    _create(client)
    for name, (body, status, field) in REFUSED.items():
        response = client.post("/api/chat", json=body)
        assert (response.status_code, response.get_json().get("field")) == (status, field), (
            name,
            response.get_json(),
        )
    for query in ("startIndex=-", "startIndex=x", "startIndex=" + "9" * 5000, "startIndex="):
        assert _problem(client.get(f"/api/chat/x/stream?{query}"), 422, "invalid-body")["field"] == "startIndex"
    long = client.post("/api/chat", data=b" " * (MAX_UI_CHAT + 1), content_type="application/json")
    assert long.status_code == 413
    assert client.post("/api/chat", data=b"{", content_type="application/json").status_code == 400
    assert client.post("/api/chat", data=b"{}", content_type="text/html").status_code == 415
    assert client.get("/session/messages").get_json()["messages"] == []

    # A client's whole history may come with each question, whatever is in it. Half a character is replaced.
    before = [{"id": "\ud800", "role": "tool", "parts": [{"type": "tool-x", "input": {"a": [1] * 1000}}]}] * 200
    asked = json.dumps({"messages": [*before, _message("a\0b\ud83d")]})
    response = client.post("/api/chat", data=asked, content_type="text/plain")
    assert _text(_chunks(response.iter_encoded())) == ANSWER
    assert client.get("/session/messages").get_json()["messages"][0]["text"] == "a\ufffdb\ufffd"


def test_a_question_that_was_refused_is_asked_by_its_repeat(client: FlaskClient) -> None:
    """A page's button "try again" calls `regenerate`, also when the server never took the question."""
    answered = client.post("/api/chat", json=_ask("First"))
    first = answered.headers["X-Workflow-Run-Id"]
    list(_chunks(answered.iter_encoded()))
    history = [_message("First"), {"id": first, "role": "assistant", "parts": []}]
    again = {"trigger": "regenerate-message", "messages": [*history, _message("Second")]}
    response = client.post("/api/chat", json=again)
    list(_chunks(response.iter_encoded()))
    assert [message["text"] for message in client.get("/session/messages").get_json()["messages"]][::2] == [
        *("First", "Second")
    ]
    response = client.post("/api/chat", json=again)  # now it has been taken, and its answer is written again
    list(_chunks(response.iter_encoded()))
    messages = client.get("/session/messages").get_json()["messages"]
    assert [len(message["siblings"]) for message in messages] == [1, 1, 1, 2]
    _problem(client.post("/api/chat", json=_ask(messageId=first)), 422, "invalid-body")  # an answer can't be edited


def _say(client: FlaskClient, **body: Any) -> str:
    """Send it, and read its answer to the end; the answer's id."""
    response = client.post("/api/chat", json=body)
    list(_chunks(response.iter_encoded()))
    return response.headers["X-Workflow-Run-Id"]


def _shown(client: FlaskClient) -> list[tuple[str, int]]:
    """The current branch: of each message its text and how many there are in its place."""
    messages = client.get("/session/messages").get_json()["messages"]
    return [(message["text"], len(message["siblings"])) for message in messages]


def test_another_answer_to_a_message_that_comes_alone_stands_beside_the_old(client: FlaskClient) -> None:
    for text in ("First", "Second"):
        _say(client, message=_message(text))
    again = {"trigger": "regenerate-message"}
    for number, named in enumerate(({}, {"messageId": "mine"}, {"messageId": str(uuid7())}), start=2):
        _say(client, **again, **named, message=_message("Second"))
        assert _shown(client) == [("First", 1), (ANSWER, 1), ("Second", 1), (ANSWER, number)]
    refused: list[dict[str, Any]] = [
        {"message": _message("First"), "messageId": "m"},  # not the last, and in words there may be two of them
        {"message": _message("Third"), "messageId": str(uuid7())},  # an answer of another conversation
    ]
    for body in refused:
        problem = _problem(client.post("/api/chat", json={**again, **body}), 422, "invalid-body")
        assert problem["field"] == "messageId"
    for text, named in (("Third", {}), ("Fourth", {"messageId": "m"})):  # never taken: the next
        _say(client, **again, **named, message=_message(text))
    assert [text for text, _ in _shown(client)][::2] == ["First", "Second", "Third", "Fourth"]


def test_a_conversation_without_a_trigger_tells_what_is_meant(client: FlaskClient) -> None:
    """`WorkflowChatTransport` as it comes sends its messages and nothing else."""
    greeting = {"id": "hello", "role": "assistant", "parts": []}

    def say(*before: dict[str, Any], text: str, own: str = "m") -> dict[str, Any]:
        answer = _say(client, messages=[*before, _message(text, id=own)])
        return {"id": answer, "role": "assistant", "parts": []}

    answer = say(greeting, text="First")
    second = say(greeting, _message("First"), answer, text="Second")
    assert _shown(client) == [("First", 1), (ANSWER, 1), ("Second", 1), (ANSWER, 1)]
    for number in (2, 3):  # regenerate()
        say(greeting, _message("First"), answer, text="Second")
        assert _shown(client) == [("First", 1), (ANSWER, 1), ("Second", 1), (ANSWER, number)]
    say(greeting, _message("First"), answer, _message("Second"), second, text="Second")
    assert [text for text, _ in _shown(client)][::2] == ["First", "Second", "Second"]
    say(greeting, _message("First"), answer, _message("refused"), text="Third")
    assert [text for text, _ in _shown(client)][::2] == ["First", "Second", "Second", "Third"]
    say(greeting, _message("First"), answer, text="Else")  # an edit
    assert _shown(client) == [("First", 1), (ANSWER, 1), ("Else", 2), (ANSWER, 1)]
    say(greeting, text="Another")  # of the first
    assert _shown(client) == [("Another", 2), (ANSWER, 1)]
    first = client.get("/session/messages").get_json()["messages"][0]["id"]  # as /messages names it
    say(text="Another", own=first)
    assert _shown(client) == [("Another", 2), (ANSWER, 2)]
    say(text="A third", own=first)
    assert _shown(client) == [("A third", 3), (ANSWER, 1)]


def test_of_a_long_conversation_only_a_place_that_can_be_told_is_taken(
    client: FlaskClient, web_runtime: Runtime
) -> None:
    """A client without a trigger means an old question's place, which is too far back to be found, or a new one."""
    first = _say(client, messages=[_message("First")])
    _add(client, web_runtime, [f"{number}" for number in range(250)])
    last = _add(client, web_runtime, ["last"])[0].id
    known = {"id": first, "role": "assistant", "parts": []}
    for before in ([], [known]):
        asked = {"messages": [*before, _message("First")]}
        for trigger in ({}, {"trigger": "regenerate-message"}):
            problem = _problem(client.post("/api/chat", json={**asked, **trigger}), 422, "invalid-body")
            assert problem["field"] == "messageId"
    _say(client, messages=[known, {**known, "id": last}, _message("Next")])
    assert _shown(client)[-3:] == [("last", 1), ("Next", 1), (ANSWER, 1)]


def test_a_repeat_is_told_the_same_answer(app: Flask, client: FlaskClient) -> None:
    key = {"Idempotency-Key": str(uuid7())}
    first, repeat = (client.post("/api/chat", json=_ask(), headers=key) for _ in range(2))
    told = list(_chunks(first.iter_encoded()))
    assert list(_chunks(repeat.iter_encoded())) == told
    again = app.test_client().post("/api/chat", json=_ask(), headers=key)  # its cookie never came
    assert list(_chunks(again.iter_encoded())) == told
    assert again.headers["Set-Cookie"].split(";")[0] == first.headers["Set-Cookie"].split(";")[0]
    assert len(client.get("/session/messages").get_json()["messages"]) == 2
    _problem(client.post("/api/chat", json=_ask("Else"), headers=key), 422, "idempotency-mismatch")
    client.delete("/session")
    _problem(app.test_client().post("/api/chat", json=_ask(), headers=key), 401, "session-invalid")


def test_nobody_reaches_anothers_by_an_id(app: Flask, client: FlaskClient, other: FlaskClient) -> None:
    person = app.test_client()
    person.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": "correct horse battery"})
    for owner, status in ((client, 401), (person, 403)):
        answered = owner.post("/api/chat", json=_ask())
        list(_chunks(answered.iter_encoded()))
        session_id = owner.get("/session/current").get_json()["session_id"]
        before = owner.get("/session/export").get_json()
        _create(other)
        for somebody in (other, app.test_client()):
            for named in (session_id, answered.headers["X-Workflow-Run-Id"]):
                for response in (
                    somebody.post("/api/chat", json=_ask(id=named)),
                    somebody.get(f"/api/chat/{named}/stream"),
                    somebody.get(f"/api/chat/{named}/stream?startIndex=0"),
                    somebody.get(f"/api/chat/{named}/messages"),
                    somebody.post(f"/api/chat/{named}/stop", json={}),
                ):
                    assert response.status_code == status, response.get_json()
        assert owner.get("/session/export").get_json() == before
    # One's own other session is named by its id alone.
    first = person.get("/session/current").get_json()["session_id"]
    _create(person)
    response = person.post("/api/chat", json=_ask(id=first, model="thinks"))
    assert next(_chunks(response.iter_encoded()))["messageMetadata"]["session_id"] == first
    wait_for(lambda: person.get(f"/api/chat/{first}/stream").status_code == 204, what="the answer has ended")
    assert len(person.get(f"/api/chat/{first}/messages").get_json()) == 4
    assert person.get("/session/messages").get_json()["messages"] == []
    _problem(app.test_client().get("/api/chat/x/messages"), 401, "session-required")
