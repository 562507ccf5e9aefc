"""Whose word counts about where a request comes from."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from flask import Blueprint, Flask, Response, jsonify, request

import web.app
from core.runtime import Runtime
from core.settings import Settings
from tests.support.waiting import wait_for
from web.api.operation import operation
from web.app import create_app
from web.auth.access import PUBLIC
from web.auth.client_address import client_address, nearest_stranger

ROOT = Path(__file__).parents[3]
PEER = "192.0.2.1"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        # No entry is believed.
        (0, "", PEER),
        (0, "203.0.113.9", PEER),
        # One proxy: the last entry is its own word, the ones before it are the client's.
        (1, "", PEER),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "10.0.0.1, 203.0.113.9", "203.0.113.9"),
        (1, "10.0.0.1,203.0.113.9", "203.0.113.9"),
        (1, "203.0.113.9:4711", "203.0.113.9"),
        (1, "[2001:db8::9]:4711", "2001:db8::9"),
        (1, "2001:db8::9", "2001:db8::9"),
        (1, "[2001:db8::9]", "2001:db8::9"),
        (1, "nonsense", PEER),
        (1, "203.0.113.9, nonsense", PEER),
        (1, "203.0.113.9,", PEER),
        (1, "unknown", PEER),
        (1, "203.0.113.9; DROP", PEER),
        (1, "203.0.113.0/24", PEER),
        # Two: the one before the last. A client that reaches the inner proxy alone gets no further back.
        (2, "203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "203.0.113.9"),
        (2, "nonsense, 10.0.0.1", "10.0.0.1"),
        (2, "203.0.113.9, nonsense", PEER),
        (5, "203.0.113.9, 10.0.0.1", "203.0.113.9"),
    ],
)
def test_the_chain_is_read_from_its_end_and_only_as_far_as_it_is_ours(
    proxies: int, forwarded: str, address: str
) -> None:
    assert nearest_stranger(PEER, forwarded, proxies) == address


def test_behind_a_unix_socket_only_a_proxy_knows() -> None:
    assert nearest_stranger("", "203.0.113.9", 1) == "203.0.113.9"
    assert nearest_stranger(None, "203.0.113.9", 0) is None


FORWARDED = {
    "X-Forwarded-For": "6.6.6.6, 203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "chat.example",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Port": "444",
}


@operation(access=PUBLIC, answers={200: "application/json"})
def seen_request() -> Response:
    """Tell what the application sees of the request."""
    return jsonify([client_address(), request.url, request.is_secure])


@pytest.fixture
def with_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Applications serve /seen, too."""
    blueprint = Blueprint("probe_of_a_test", __name__)
    blueprint.add_url_rule("/seen", view_func=seen_request)
    monkeypatch.setattr(web.app, "API", (*web.app.API, SimpleNamespace(blueprint=blueprint)))


def _app(runtime: Runtime, proxies: int) -> Flask:
    return create_app(Runtime(runtime.settings.model_copy(update={"trusted_proxies": proxies})))


@pytest.mark.parametrize(
    ("proxies", "seen"),
    [
        (0, ["127.0.0.1", "http://localhost/seen", False]),
        (1, ["203.0.113.9", "https://chat.example/seen", True]),
        (2, ["6.6.6.6", "https://chat.example/seen", True]),
    ],
)
def test_the_application_believes_its_proxies_and_nobody_else(
    runtime: Runtime, with_probe: None, proxies: int, seen: list[object]
) -> None:
    assert _app(runtime, proxies).test_client().get("/seen", headers=FORWARDED).get_json() == seen


@contextmanager
def _gunicorn(stack: Settings, proxies: int) -> Iterator[str]:
    """The server as the Procfile starts it; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {
        "PORT": str(port),
        "REDIS_URL": stack.redis_url,
        "DATABASE_URL": stack.database_url,
        "SWITCHBOARD_MODELS": str(stack.models_path),
        "SWITCHBOARD_STATE_DIR": str(stack.state_dir),
        "SWITCHBOARD_LIMIT_CREATE": "off",
        "SWITCHBOARD_TRUSTED_PROXIES": str(proxies),
        "FORWARDED_ALLOW_IPS": "*",
    }
    command = [sys.executable, "-m", "gunicorn", "--config", "web/gunicorn.py", "web.app:create_app()"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(url), what="gunicorn answers")
        yield url
    finally:
        server.terminate()
        server.wait(15)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.mark.one_database
@pytest.mark.parametrize(("proxies", "cookie"), [(0, "switchboard="), (1, "__Host-switchboard=")])
def test_gunicorn_itself_believes_nobody(stack: Settings, proxies: int, cookie: str) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off", "SCRIPT_NAME": "/session"}
    with _gunicorn(stack, proxies) as url:
        response = httpx2.post(f"{url}/session/create", headers=headers, trust_env=False, timeout=15)
    assert response.status_code in (201, 202)
    assert response.headers["Set-Cookie"].startswith(cookie)
