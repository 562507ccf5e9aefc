"""Which requests may read /metrics."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import select

from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import AuditEvent
from web.app import create_app

TOKEN = "a token that nobody guesses"


@pytest.fixture
def client(runtime: Runtime) -> FlaskClient:
    """A client of a server without a token."""
    return create_app(runtime).test_client()


@pytest.fixture
def guarded(settings: Settings) -> FlaskClient:
    """A client of a server with a token."""
    return create_app(Runtime(settings.model_copy(update={"metrics_token": SecretStr(TOKEN)}))).test_client()


def _status(client: FlaskClient, peer: str | None = "127.0.0.1", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    environ: dict[str, Any] = {"REMOTE_ADDR": peer}
    return client.get("/metrics", headers=named, environ_overrides=environ).status_code


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_whoever_is_on_the_machine_itself_is_answered(client: FlaskClient, peer: str, host: str) -> None:
    assert _status(client, peer, Host=host) == 200


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0", "", None])
def test_nobody_else_is(client: FlaskClient, peer: str | None) -> None:
    assert _status(client, peer) == 403


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "x-forwarded-server",
        "Forwarded",
        "X-Real-IP",
        "Via",
    ],
)
@pytest.mark.parametrize("value", ["127.0.0.1", ""])
def test_a_proxy_on_the_machine_speaks_for_others(client: FlaskClient, header: str, value: str) -> None:
    assert client.get("/metrics", headers={header: value}).status_code == 403


def test_a_trusted_proxy_speaks_for_others_too(settings: Settings) -> None:
    client = create_app(Runtime(settings.model_copy(update={"trusted_proxies": 1}))).test_client()
    assert _status(client, X_Forwarded_For="127.0.0.1", X_Forwarded_Host="localhost") == 403
    assert _status(client, "192.0.2.1", X_Forwarded_For="127.0.0.1") == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "[", "192.0.2.1"])
def test_a_page_that_gives_its_name_this_machines_address_reads_nothing(client: FlaskClient, host: str) -> None:
    assert _status(client, Host=host) in (400, 403, 421)


def test_a_refusal_says_what_to_do_and_leaves_nothing(client: FlaskClient, runtime: Runtime) -> None:
    before = runtime.redis.dbsize()
    response = client.get("/metrics", environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    assert response.content_type == "application/problem+json"
    assert response.get_json(force=True) == {
        "type": "/problems/operator-only",
        "title": "For the operator only",
        "status": 403,
        "detail": "Ask from the server's own machine, not through a proxy, or send the operator's token.",
    }
    assert "Set-Cookie" not in response.headers
    assert runtime.redis.dbsize() == before
    with runtime.database.reading() as db:
        assert db.scalars(select(AuditEvent)).all() == []


def test_the_token_opens_it_from_anywhere(guarded: FlaskClient) -> None:
    assert _status(guarded, "192.0.2.1", Authorization=f"Bearer {TOKEN}") == 200
    assert _status(guarded, X_Forwarded_For="192.0.2.1", Authorization=f"bearer {TOKEN}") == 200
    assert _status(guarded) == 200


@pytest.mark.parametrize(
    "sent",
    ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer \xff"],
)
def test_nothing_but_the_token_does(guarded: FlaskClient, sent: str) -> None:
    assert _status(guarded, "192.0.2.1", Authorization=sent) == 403


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "Bearer None", f"Bearer {TOKEN}"])
def test_without_a_token_none_is_taken(client: FlaskClient, sent: str) -> None:
    assert _status(client, "192.0.2.1", Authorization=sent) == 403


def test_the_token_is_an_option_that_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_METRICS_TOKEN", TOKEN)
    settings = Settings()
    assert settings.metrics_token is not None
    assert settings.metrics_token.get_secret_value() == TOKEN
    assert TOKEN not in repr(settings)
    monkeypatch.setenv("SWITCHBOARD_METRICS_TOKEN", "")
    assert Settings().metrics_token is None
