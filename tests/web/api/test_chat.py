"""Messages in, events out."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from core.conversation.keys import channel
from core.llm.providers.base import ErrorKind, ProviderError
from core.runtime import Runtime
from tests.support.provider import ANSWER, ProviderServer
from tests.support.waiting import wait_for
from tests.web.api.test_session import _answered, _create, _problem
from tests.web.sse import ServerEvent, events
from web.app import create_app

TERMINAL = ("done", "failed", "stopped")


def _stream(client: FlaskClient, path: str = "/chat/sse", **options: Any) -> Iterator[ServerEvent]:
    response = client.get(path, **options)
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    return events(response.iter_encoded())


def _until_end(stream: Iterator[ServerEvent]) -> list[ServerEvent]:
    got = []
    for event in stream:
        got.append(event)
        if event.type in TERMINAL:
            break
    return got


def _text(got: list[ServerEvent]) -> str:
    return "".join(event.data["text"] for event in got if event.type == "delta")


def test_a_question_is_answered_by_its_own_stream(client: FlaskClient) -> None:
    response = client.post("/chat/sse", json={"message": "Why?"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["Set-Cookie"].startswith("switchboard=")
    body = list(response.iter_encoded())
    assert body[0].startswith(b":")
    got = list(events(body))
    assert [event.type for event in got[:3]] == ["session", "queued", "started"]
    assert set(got[0].data) == {"session_id", "anonymous", "model", "expires_at"}
    assert got[-1].type == "done"
    assert _text(got) == ANSWER
    epochs, offsets = zip(*(event.id.split("-") for event in got[1:]), strict=True)
    assert len(set(epochs)) == 1
    assert [int(offset) for offset in offsets] == list(range(1, len(got)))


def test_a_message_is_accepted_and_its_events_come_on_the_stream(client: FlaskClient) -> None:
    _create(client)
    response = client.post("/chat", json={"message": "Why?"})
    accepted = response.get_json()
    assert response.status_code == 202
    assert set(accepted) == {"session_id", "generation_id", "state", "position", "events"}
    assert accepted["events"] == "/chat/sse"
    _answered(client)
    messages = client.get("/session/messages").get_json()
    assert [(message["role"], message["text"], message["state"]) for message in messages["messages"]] == [
        ("user", "Why?", "complete"),
        ("assistant", ANSWER, "complete"),
    ]
    assert messages["messages"][1]["id"] == accepted["generation_id"]


def test_a_stream_resumes_after_the_last_event_by_header_and_by_query(client: FlaskClient) -> None:
    _create(client)
    client.post("/chat", json={"message": "Why?"})
    whole = _until_end(_stream(client, headers={"Last-Event-ID": _before_first(client)}))
    assert _text(whole) == ANSWER
    for index in range(len(whole) - 1):
        rest = whole[index + 1 :]
        by_header = _until_end(_stream(client, headers={"Last-Event-ID": whole[index].id}))
        by_query = _until_end(_stream(client, f"/chat/sse?last_event_id={whole[index].id}"))
        assert by_header == by_query == rest


def _before_first(client: FlaskClient) -> str:
    cursor: str = wait_for(lambda: client.get("/session/messages").get_json()["cursor"])
    return f"{cursor.split('-')[0]}-0"


def test_without_a_cursor_a_stream_begins_with_the_live_generation(
    client: FlaskClient, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    _create(client)
    assert client.post("/chat/sse", json={"message": "First"}).get_data()
    client.post("/chat", json={"message": "Second", "model": "paused"})
    wait_for(lambda: client.get("/session/messages").get_json()["messages"][-1]["text"].startswith("Wait."))
    stream = _stream(client)
    first = next(stream)
    provider.go_on.set()
    got = [first, *_until_end(stream)]
    assert [event.type for event in got[:2]] == ["queued", "started"]
    assert _text(got).startswith("Wait.")
    assert _text(got).endswith(". for it")


def test_messages_and_their_cursor_fit_together_in_mid_answer(client: FlaskClient, provider: ProviderServer) -> None:
    provider.go_on.clear()
    client.post("/chat", json={"message": "Why?", "model": "paused"})
    partial = wait_for(
        lambda: (
            (found := client.get("/session/messages").get_json())["messages"][-1]["text"].startswith("Wait.")
            and found
        )
    )
    assert partial["messages"][-1]["state"] == "streaming"
    stream = _stream(client, headers={"Last-Event-ID": partial["cursor"]})
    first = next(stream)
    provider.go_on.set()
    rest = [first, *_until_end(stream)]
    assert rest[0].data["at"] == len(partial["messages"][-1]["text"])
    final = client.get("/session/messages").get_json()["messages"][-1]["text"]
    assert partial["messages"][-1]["text"] + _text(rest) == final


def test_two_web_processes_tell_the_same(client: FlaskClient, web_runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    _create(client)
    cookie = client.get_cookie("switchboard")
    assert cookie is not None
    elsewhere = create_app(web_runtime).test_client()
    client.post("/chat", json={"message": "Why?", "model": "paused"})
    here = _stream(client)
    there = _stream(elsewhere, headers={"X-Session-ID": cookie.value})
    first = next(here), next(there)
    provider.go_on.set()
    assert [first[0], *_until_end(here)] == [first[1], *_until_end(there)]


@pytest.mark.parametrize("cursor", ["nonsense", "00000000-1", "{epoch}-99", "{epoch}--1", "-", "1-1-1"])
def test_a_cursor_that_cant_be_honoured_is_reset(client: FlaskClient, cursor: str) -> None:
    client.post("/chat/sse", json={"message": "Why?"}).get_data()
    now: str = client.get("/session/messages").get_json()["cursor"]
    wanted = cursor.format(epoch=now.split("-")[0])
    event = next(_stream(client, headers={"Last-Event-ID": wanted}))
    assert (event.type, event.id) == ("reset", now)


def test_a_log_that_was_lost_is_reset(client: FlaskClient, web_runtime: Runtime) -> None:
    client.post("/chat/sse", json={"message": "Why?"}).get_data()
    now: str = client.get("/session/messages").get_json()["cursor"]
    for key in web_runtime.redis.scan_iter("sb:{*"):
        web_runtime.redis.delete(key)
    assert next(_stream(client, headers={"Last-Event-ID": now})).type == "reset"


def test_a_trimmed_log_is_reset_not_told_in_part(client: FlaskClient, web_runtime: Runtime) -> None:
    session_id = client.post("/chat", json={"message": "Why?"}).get_json()["session_id"]
    _answered(client)
    now: str = client.get("/session/messages").get_json()["cursor"]
    web_runtime.redis.xtrim(f"sb:{{{session_id}}}:log", maxlen=2, approximate=False)
    epoch, _, top = now.partition("-")
    assert next(_stream(client, headers={"Last-Event-ID": f"{epoch}-1"})).type == "reset"
    assert next(_stream(client, headers={"Last-Event-ID": f"{epoch}-{int(top) - 1}"})).type == "done"


def test_a_switch_is_an_event(client: FlaskClient) -> None:
    session = _create(client)
    client.post("/session/model", json={"model": "paused"})
    client.post("/session/model", json={"model": "good"})
    cursor: str = client.get("/session/messages").get_json()["cursor"]
    event = next(_stream(client, headers={"Last-Event-ID": f"{cursor.split('-')[0]}-1"}))
    assert (event.type, event.data) == ("model", {"model": "good", "version": 3})
    assert session["version"] == 1


def test_a_live_generation_keeps_the_model_it_began_with(client: FlaskClient, provider: ProviderServer) -> None:
    provider.go_on.clear()
    client.post("/chat", json={"message": "Why?", "model": "paused"})
    client.post("/session/model", json={"model": "good"})
    stream = _stream(client)
    first = next(stream)
    provider.go_on.set()
    assert [first, *_until_end(stream)][-1].data["model"] == "paused"
    got = list(events(client.post("/chat/sse", json={"message": "And?"}).iter_encoded()))
    assert got[-1].data["model"] == "good"


def test_a_second_message_waits_for_the_first_answer(client: FlaskClient, provider: ProviderServer) -> None:
    provider.go_on.clear()
    client.post("/chat", json={"message": "Why?", "model": "paused"})
    for path in ("/chat", "/chat/sse"):
        _problem(client.post(path, json={"message": "And?"}), 409, "generation-in-progress")
    provider.go_on.set()
    _answered(client)
    assert client.post("/chat", json={"message": "And?", "model": "good"}).status_code == 202


def test_a_model_server_that_is_down_fails_plainly_and_the_session_is_usable_at_once(client: FlaskClient) -> None:
    got = list(events(client.post("/chat/sse", json={"message": "Why?", "model": "away"}).iter_encoded()))
    assert got[-1].type == "failed"
    assert got[-1].data["problem"]["detail"] == "The model's server can't be reached."
    again = list(events(client.post("/chat/sse", json={"message": "Again?", "model": "good"}).iter_encoded()))
    assert _text(again) == ANSWER


def test_deleting_the_session_ends_its_streams(client: FlaskClient, app: Flask, web_runtime: Runtime) -> None:
    session = _create(client)
    cookie = client.get_cookie("switchboard")
    assert cookie is not None
    response = client.get("/chat/sse")
    body = response.iter_encoded()
    next(body)
    import threading

    rest: list[bytes] = []
    reader = threading.Thread(target=lambda: rest.extend(body))
    reader.start()
    from uuid import UUID

    name = channel(UUID(session["session_id"]))
    wait_for(lambda: web_runtime.redis.pubsub_numsub(name)[0][1])
    app.test_client().delete("/session", headers={"X-Session-ID": cookie.value})
    reader.join(5)
    assert not reader.is_alive()
    assert [event.type for event in events(rest)] == ["expired"]


def test_nobody_streams_anothers_session(client: FlaskClient, other: FlaskClient) -> None:
    session = _create(client)
    _create(other)
    forged = {"X-Session-ID": f"{session['session_id']}.{'x' * 43}"}
    _problem(other.get("/chat/sse", headers=forged), 401, "session-invalid")
    _problem(other.get("/chat/sse?channel=sb:" + session["session_id"], headers=forged), 401, "session-invalid")


@pytest.mark.parametrize(
    ("policy", "chat", "stream"), [("on_message", 202, 401), ("on_stream", 202, 200), ("never", 401, 401)]
)
def test_the_policy_says_when_a_session_is_made(web_runtime: Runtime, policy: str, chat: int, stream: int) -> None:
    runtime = Runtime(web_runtime.settings.model_copy(update={"auto_create": policy}))
    app = create_app(runtime)
    answered = app.test_client().post("/chat", json={"message": "Why?"})
    assert answered.status_code == chat
    assert ("Set-Cookie" in answered.headers) == (chat == 202)
    streamed = app.test_client().get("/chat/sse")
    assert streamed.status_code == stream
    assert ("Set-Cookie" in streamed.headers) == (stream == 200)
    streamed.close()
    runtime.close()


@pytest.mark.parametrize("path", ["/chat", "/chat/sse"])
@pytest.mark.parametrize(
    ("body", "content_type", "status", "slug", "words"),
    [
        (b'{"message": ""}', "application/json", 422, "invalid-body", "'message' is empty"),
        (b'{"message": " \\n "}', "application/json", 422, "invalid-body", "'message' is empty"),
        (b'{"message": "\\u200b"}', "application/json", 422, "invalid-body", "'message' is empty"),
        (b'{"message": "\\u0000 \\u3164"}', "application/json", 422, "invalid-body", "'message' is empty"),
        (b'{"message": "\\u2060\\u2800"}', "application/json", 422, "invalid-body", "'message' is empty"),
        (b"{}", "application/json", 422, "invalid-body", "'message' is missing"),
        (b"", "application/json", 422, "invalid-body", "'message' is missing"),
        (b'{"message": 5}', "application/json", 422, "invalid-body", "message: Input should be a valid string"),
        (b'{"message": null}', "application/json", 422, "invalid-body", "message: Input should be a valid string"),
        (b'{"message": "x", "modle": "y"}', "application/json", 422, "invalid-body", "no field 'modle'"),
        (b'{"mesage": "x"}', "application/json", 422, "invalid-body", "no field 'mesage'"),
        (b'{"message": "x", "model": 1}', "application/json", 422, "invalid-body", "model: Input should be"),
        (b'["message"]', "application/json", 422, "invalid-body", "must be a JSON object"),
        (b'"message"', "application/json", 422, "invalid-body", "must be a JSON object"),
        (b'{"message": "x"', "application/json", 400, "bad-request", "not valid JSON"),
        (b"[" * 100_000, "application/json", 400, "bad-request", "not valid JSON"),
        (b'{"message": "\xff"}', "application/json", 400, "bad-request", "not valid JSON"),
        (b'{"message": "x"}', "text/plain", 415, "unsupported-media-type", "application/json"),
        (b"message=x", "application/x-www-form-urlencoded", 415, "unsupported-media-type", "application/json"),
        (json.dumps({"message": "é" * 16385}).encode(), "application/json", 413, "message-too-large", "32770 bytes"),
        (b'{"message": "' + b"x" * 300_000 + b'"}', "application/json", 413, "request-entity-too-large", ""),
    ],
)
def test_a_bad_body_is_told_what_is_wrong_and_makes_no_session(
    client: FlaskClient, path: str, body: bytes, content_type: str, status: int, slug: str, words: str
) -> None:
    response = client.post(path, data=body, content_type=content_type)
    problem = _problem(response, status, slug)
    assert words in problem["detail"]
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("PUT", "/chat", 405, "method-not-allowed"),
        ("GET", "/chat", 405, "method-not-allowed"),
    ],
)
def test_flasks_own_errors_are_problems_too(
    client: FlaskClient, method: str, path: str, status: int, slug: str
) -> None:
    response = client.open(path, method=method)
    _problem(response, status, slug)
    assert ("Allow" in response.headers) == (status == 405)


def test_a_stop_keeps_what_was_shown(client: FlaskClient, provider: ProviderServer) -> None:
    provider.go_on.clear()
    _create(client)
    _problem(client.post("/chat/stop"), 409, "nothing-to-stop")
    generation_id = client.post("/chat", json={"message": "Why?", "model": "paused"}).get_json()["generation_id"]
    wait_for(lambda: client.get("/session/messages").get_json()["messages"][-1]["text"].startswith("Wait."))
    stream = _stream(client)
    response = client.post("/chat/stop")
    assert (response.status_code, response.get_json()["generation_id"]) == (202, generation_id)
    got = _until_end(stream)
    answer = client.get("/session/messages").get_json()["messages"][-1]
    assert (got[-1].type, answer["state"], answer["text"]) == ("stopped", "stopped", _text(got))
    _problem(client.post("/chat/stop"), 409, "nothing-to-stop")
    assert client.post("/chat", json={"message": "And?", "model": "good"}).status_code == 202


def _available(client: FlaskClient, name: str) -> bool:
    models = client.get("/config/models").get_json()["models"]
    return bool(next(model["available"] for model in models if model["name"] == name))


def test_a_model_that_fails_for_more_than_one_is_not_available(
    client: FlaskClient, other: FlaskClient, web_runtime: Runtime
) -> None:
    web_runtime.cooldowns.end("broken")
    for _ in range(3):
        client.post("/chat/sse", json={"message": "Why?", "model": "broken"}).get_data()
    web_runtime.cooldowns.note_failure("broken", ProviderError(ErrorKind.SERVER_ERROR), uuid7())
    assert _available(other, "broken"), "two may be one"
    other.post("/chat/sse", json={"message": "Why?", "model": "broken"}).get_data()
    assert not _available(client, "broken")
    web_runtime.cooldowns.end("broken")
    assert _available(client, "broken")


def test_a_model_that_is_well_again_is_available_before_anybody_asks_it(
    client: FlaskClient, web_runtime: Runtime
) -> None:
    web_runtime.cooldowns.note_failure("good", ProviderError(ErrorKind.UNREACHABLE), uuid7())
    assert not _available(client, "good")
    wait_for(lambda: _available(client, "good"), seconds=8, what="a worker's probe has found it well")
