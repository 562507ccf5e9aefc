"""When a stream ends, and what holds it."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7
from werkzeug.test import TestResponse

from core.conversation.keys import channel
from core.runtime import Runtime
from tests.support.waiting import wait_for
from tests.web.api.test_session import _age, _answered, _create
from tests.web.sse import ServerEvent, events
from web.context import context_of


class Listener:
    """A client that reads a stream to its end, in a thread."""

    def __init__(self, client: FlaskClient, runtime: Runtime, session_id: str, path: str = "/chat/sse") -> None:
        self.response = client.get(path)
        assert self.response.status_code == 200
        body = self.response.iter_encoded()
        self.blocks = [next(body)]
        self._thread = threading.Thread(target=self._read, args=(body,), daemon=True)
        self._thread.start()
        wait_for(lambda: runtime.redis.pubsub_numsub(channel(UUID(session_id)))[0][1], what="it has subscribed")

    def _read(self, body: Iterator[bytes]) -> None:
        for block in body:
            self.blocks.append(block)

    def ended(self) -> list[ServerEvent]:
        """Its events, once it has ended."""
        self._thread.join(10)
        assert not self._thread.is_alive()
        return list(events(self.blocks))


@pytest.fixture
def beating(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat that a test has time for."""
    monkeypatch.setattr("web.streaming.reader.HEARTBEAT_INTERVAL", 0.2)


def test_a_stream_lives_by_its_heartbeat(
    beating: None, client: FlaskClient, web_runtime: Runtime, app: Flask
) -> None:
    listener = Listener(client, web_runtime, _create(client)["session_id"])
    wait_for(lambda: listener.blocks.count(b": \n\n") >= 3, what="three signs of life")
    context_of(app).hub.drain(0)
    assert listener.ended() == []


def test_a_stream_ends_when_its_session_expires(client: FlaskClient, web_runtime: Runtime) -> None:
    session_id = _create(client)["session_id"]
    _age(web_runtime, session_id, timedelta(minutes=30) - timedelta(seconds=1))
    assert [event.type for event in Listener(client, web_runtime, session_id).ended()] == ["expired"]


def test_a_stream_outlives_an_extension_of_its_session(client: FlaskClient, web_runtime: Runtime, app: Flask) -> None:
    session_id = _create(client)["session_id"]
    _age(web_runtime, session_id, timedelta(minutes=30) - timedelta(seconds=1))
    cookie = client.get_cookie("switchboard")
    assert cookie is not None
    listener = Listener(client, web_runtime, session_id)
    app.test_client().post("/session/refresh", headers={"X-Session-ID": cookie.value})
    over = time.monotonic() + 1.2
    wait_for(lambda: time.monotonic() > over)
    app.test_client().post("/session/model", json={"model": "paused"}, headers={"X-Session-ID": cookie.value})
    wait_for(lambda: any(b"event:model" in block for block in listener.blocks))
    context_of(app).hub.drain(0)
    assert [event.type for event in listener.ended()] == ["model"]


def test_a_stream_ends_within_a_heartbeat_of_its_login(beating: None, app: Flask, web_runtime: Runtime) -> None:
    browser, other = app.test_client(), app.test_client()
    account = {"email": f"{uuid7()}@example.org", "password": "correct horse battery"}
    browser.post("/auth/register", json=account)
    session_id = _create(browser)["session_id"]
    listener = Listener(browser, web_runtime, session_id)
    other.post("/auth/login", json=account)
    mine = next(login for login in other.get("/auth/logins").get_json()["logins"] if not login["current"])
    assert other.delete(f"/auth/logins/{mine['id']}").status_code == 204
    assert [event.type for event in listener.ended()] == ["expired"]


def _accepted(client: FlaskClient) -> dict[str, Any]:
    """A question, asked until it is taken, as clients do: on a busy machine a store may answer too late at first, or
    the session be made after its creation was waited for."""
    key = {"Idempotency-Key": str(uuid7())}

    def ask() -> dict[str, Any] | None:
        response = client.post("/chat", json={"message": "Why?"}, headers=key)
        assert response.status_code in (202, 409, 503), response.text
        return response.get_json() if response.status_code == 202 else None

    return wait_for(ask, what="the question is taken")


def test_a_stream_up_to_the_end_of_an_answer_ends_with_it(client: FlaskClient) -> None:
    accepted = _accepted(client)
    path = f"/chat/sse?generation_id={accepted['generation_id']}"
    _answered(client)
    cursor: str = client.get("/session/messages").get_json()["cursor"]
    start = f"{cursor.split('-')[0]}-0"
    whole = list(events(client.get(path, headers={"Last-Event-ID": start}).iter_encoded()))
    assert (whole[0].type, whole[-1].type, whole[-1].id) == ("queued", "done", cursor)
    # ... and a reader that has seen all of it need not come back.
    response = client.get(path, headers={"Last-Event-ID": cursor})
    assert (response.status_code, response.data) == (204, b"")
    # Nor does one that asks for no past wait for an end that has been.
    assert client.get(path).status_code == 204


@pytest.mark.parametrize("cursor", ["{epoch}-2", "{epoch}-" + "9" * 30, "0a1b2c3d-1", "no cursor"])
def test_a_cursor_of_no_event_is_told_so(client: FlaskClient, web_runtime: Runtime, cursor: str) -> None:
    session_id = UUID(_create(client)["session_id"])
    at = web_runtime.log.append(session_id, "model", {}, expires_at=web_runtime.clock.now() + timedelta(hours=1))
    response = client.get("/chat/sse", headers={"Last-Event-ID": cursor.format(epoch=at.epoch)})
    first = next(iter(events(response.iter_encoded())))
    response.close()
    assert (first.type, first.data, first.id) == ("reset", {"reason": "unknown-cursor"}, str(at))


def test_a_lost_last_announcement_is_found(
    client: FlaskClient, web_runtime: Runtime, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = _create(client)["session_id"]
    listener = Listener(client, web_runtime, session_id)
    hub = context_of(app).hub
    # Redis has acknowledged; the hub may not have heard it yet.
    name = channel(UUID(session_id))
    wait_for(lambda: [reader.ready for reader in hub._readers(name)] == [True], what="the hub listens")
    monkeypatch.setattr(hub, "_readers", lambda name: [])  # what is announced reaches no reader
    client.post("/session/model", json={"model": "paused"})
    wait_for(lambda: web_runtime.log.tops([UUID(session_id)]) == [1])
    monkeypatch.undo()
    wait_for(lambda: any(b"event:model" in block for block in listener.blocks), what="the hub compares places")
    hub.drain(0)
    assert [event.type for event in listener.ended()] == ["model"]


def test_a_gap_is_not_forgotten_for_a_heartbeat(
    client: FlaskClient, web_runtime: Runtime, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.streaming.reader.HEARTBEAT_INTERVAL", 0.001)  # one is due whenever anything else is
    monkeypatch.setattr("web.streaming.hub.COMPARE_INTERVAL", 3600.0)
    session_id = _create(client)["session_id"]
    listener = Listener(client, web_runtime, session_id)
    hub, name = context_of(app).hub, channel(UUID(session_id))
    (reader,) = wait_for(lambda: [each for each in hub._readers(name) if each.ready], what="the hub listens")
    monkeypatch.setattr(hub, "_readers", lambda name: [])  # what is announced reaches no reader
    client.post("/session/model", json={"model": "paused"})
    wait_for(lambda: web_runtime.log.tops([UUID(session_id)]) == [1])
    monkeypatch.undo()
    reader.miss()
    wait_for(lambda: any(b"event:model" in block for block in listener.blocks), what="the log is read")
    hub.drain(0)
    listener.ended()


class _Door(threading.Semaphore):
    """A door that is shut, and says whether somebody waits at it."""

    def __init__(self) -> None:
        super().__init__(0)
        self.has_been_tried = threading.Event()

    def __enter__(self, blocking: bool = True, timeout: float | None = None) -> bool:
        self.has_been_tried.set()
        return self.acquire()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_stream_comes_through_the_door(
    client: FlaskClient, web_runtime: Runtime, app: Flask, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    session_id = _create(client)["session_id"]
    door, answers = _Door(), list[TestResponse]()
    monkeypatch.setattr("web.streaming.door._door", door)
    body = {"message": "Why?"} if method == "POST" else None
    asking = threading.Thread(
        target=lambda: answers.append(client.open("/chat/sse", method=method, json=body)), daemon=True
    )
    asking.start()
    wait_for(door.has_been_tried.is_set, what="it waits at the door")
    # Nothing has been done for it yet.
    assert web_runtime.log.read(UUID(session_id), after=0).top == 0
    assert asking.is_alive()
    door.release()
    asking.join(10)
    assert [answer.status_code for answer in answers] == [200]
    answers[0].close()
