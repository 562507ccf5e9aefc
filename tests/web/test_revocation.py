"""A stream ends with what opened it: at once, or, should the announcement be lost, with the next heartbeat."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from core.conversation.keys import channel
from core.runtime import Runtime
from tests.support.waiting import wait_for
from tests.web.api.test_events import Listener
from tests.web.api.test_session import _answered, _create
from tests.web.sse import ServerEvent, events
from web.app import create_app
from web.context import context_of

PASSWORD = "correct horse battery"
WORDS = "For the owner's ears only."


class Browser:
    """Somebody with an account, at a browser."""

    def __init__(self, app: Flask) -> None:
        self.account = {"email": f"{uuid7()}@example.org", "password": PASSWORD}
        self.client = app.test_client()
        assert self.client.post("/auth/register", json=self.account).status_code == 201

    def elsewhere(self, app: Flask) -> FlaskClient:
        """Another browser of the same person's."""
        client = app.test_client()
        assert client.post("/auth/login", json=self.account).status_code == 200
        return client


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch, web_runtime: Runtime) -> Iterator[Flask]:
    """An application that looks proofs up often, and to which no revocation is announced."""
    monkeypatch.setattr("web.streaming.hub.VERIFY_INTERVAL", 0.1)
    monkeypatch.setattr(web_runtime.revocations, "announce", lambda _: None)
    application = create_app(web_runtime)
    yield application
    context_of(application).hub.close()


def _listening(client: FlaskClient, runtime: Runtime, app: Flask, session_id: str) -> Listener:
    listener = Listener(client, runtime, session_id)
    hub, name = context_of(app).hub, channel(UUID(session_id))
    # The hub listens, and the reader has made sure of its proof.
    wait_for(lambda: [each.ready and not each.doubted for each in hub._readers(name)] == [True])
    return listener


def _claimed(app: Flask, client: FlaskClient, secret: str) -> None:
    owner = app.test_client()
    owner.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    assert owner.post("/session/claim", headers={"X-Session-ID": secret}).status_code == 200
    assert owner.post("/chat", json={"message": WORDS}).status_code == 202
    _answered(owner)


def _secret(client: FlaskClient) -> str:
    cookie = client.get_cookie("switchboard")
    assert cookie is not None
    return cookie.value


def _told(ended: list[ServerEvent]) -> str:
    return " ".join(f"{event.type} {event.data}" for event in ended)


def test_a_claim_ends_what_the_guests_secret_has_opened(
    client: FlaskClient, app: Flask, web_runtime: Runtime
) -> None:
    session_id = _create(client)["session_id"]
    listener = _listening(client, web_runtime, app, session_id)
    _claimed(app, client, _secret(client))
    assert _told(listener.ended()) == ""  # not a word of the new owner's, nor that the session is over


def test_a_claim_that_comes_while_a_stream_is_opened_ends_it(
    client: FlaskClient, app: Flask, web_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id, hub = _create(client)["session_id"], context_of(app).hub
    secret, subscribe = _secret(client), hub.subscribe

    def late(*args: Any) -> Any:
        monkeypatch.undo()
        _claimed(app, client, secret)
        return subscribe(*args)

    monkeypatch.setattr(hub, "subscribe", late)
    told = list(events(client.get("/chat/sse", headers={"X-Session-ID": f"{secret}"}).iter_encoded()))
    assert WORDS not in _told(told)
    assert "delta" not in _told(told)
    assert session_id


def test_a_deletion_that_comes_while_a_stream_is_opened_is_told(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The farewell was announced before anybody listened."""
    _create(client)
    secret, hub = _secret(client), context_of(app).hub
    subscribe = hub.subscribe

    def late(*args: Any) -> Any:
        monkeypatch.undo()
        assert app.test_client().delete("/session", headers={"X-Session-ID": secret}).status_code == 204
        return subscribe(*args)

    monkeypatch.setattr(hub, "subscribe", late)
    assert [event.type for event in events(client.get("/chat/sse").iter_encoded())] == ["expired"]


def _log_out(app: Flask, browser: Browser) -> None:
    assert browser.client.post("/auth/logout").status_code == 204


def _end_login(app: Flask, browser: Browser) -> None:
    other = browser.elsewhere(app)
    mine = next(each for each in other.get("/auth/logins").get_json()["logins"] if not each["current"])
    assert other.delete(f"/auth/logins/{mine['id']}").status_code == 204


def _change_password(app: Flask, browser: Browser) -> None:
    body = {"current_password": PASSWORD, "new_password": "another horse battery"}
    # Buffered: the response is sent to its end, as a server does it.
    assert browser.elsewhere(app).post("/auth/password", json=body, buffered=True).status_code == 204


def _delete_account(app: Flask, browser: Browser) -> None:
    assert browser.elsewhere(app).delete("/auth/me", json={"password": PASSWORD}).status_code == 204


ENDS = [_log_out, _end_login, _change_password, _delete_account]


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_login_ends_its_streams(
    app: Flask, web_runtime: Runtime, end: Callable[[Flask, Browser], None]
) -> None:
    browser = Browser(app)
    session_id = _create(browser.client)["session_id"]
    listener = _listening(browser.client, web_runtime, app, session_id)
    end(app, browser)
    assert [event.type for event in listener.ended()] == ["expired"]


def test_a_revoked_key_ends_its_streams_and_no_others(app: Flask, web_runtime: Runtime) -> None:
    browser, program = Browser(app), app.test_client()
    session_id = _create(browser.client)["session_id"]
    key = browser.client.post("/auth/keys", json={"name": "backup"}).get_json()
    program.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key['key']}"
    program.environ_base["HTTP_X_SESSION_ID"] = session_id
    of_browser = _listening(browser.client, web_runtime, app, session_id)
    of_key = Listener(program, web_runtime, session_id)
    assert browser.client.delete(f"/auth/keys/{key['id']}").status_code == 204
    assert [event.type for event in of_key.ended()] == ["expired"]
    browser.client.post("/session/model", json={"model": "paused"})
    wait_for(lambda: any(b"event:model" in block for block in of_browser.blocks), what="the other one goes on")
    context_of(app).hub.drain(0)
    of_browser.ended()


@pytest.mark.parametrize("end", ENDS)
def test_a_lost_announcement_costs_at_most_a_heartbeat(
    hurried: Flask, web_runtime: Runtime, end: Callable[[Flask, Browser], None]
) -> None:
    browser = Browser(hurried)
    session_id = _create(browser.client)["session_id"]
    listener = _listening(browser.client, web_runtime, hurried, session_id)
    end(hurried, browser)
    assert [event.type for event in listener.ended()] == ["expired"]


def test_a_claim_whose_announcement_is_lost_ends_the_guests_streams_with_a_heartbeat(
    hurried: Flask, web_runtime: Runtime
) -> None:
    guest = hurried.test_client()
    listener = _listening(guest, web_runtime, hurried, _create(guest)["session_id"])
    owner = hurried.test_client()
    owner.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    assert owner.post("/session/claim", headers={"X-Session-ID": _secret(guest)}).status_code == 200
    assert _told(listener.ended()) == ""
