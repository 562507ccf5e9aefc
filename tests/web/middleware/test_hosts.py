"""The names under which the web server answers."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask.testing import FlaskClient

from core.runtime import Runtime
from core.settings import Settings
from tests.support.valkey import Valkey
from tests.support.web_process import WebProcess
from web.app import create_app

OWN = ["localhost", "LocalHost:8000", "localhost.", "app.localhost:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000"]
OTHERS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "notlocalhost",
    "192.0.2.1:8000",
    "[2001:db8::1]:8000",
    "2130706433",
    "localhost@evil.example",
    "localhost, evil.example",
    "localhost/",
    "[::1].evil.example",
    "",
]


def client(settings: Settings, **options: Any) -> FlaskClient:
    """A client of a server with these options."""
    return create_app(Runtime(settings.model_copy(update=options))).test_client()


def status(visitor: FlaskClient, host: str, path: str = "/healthz", method: str = "GET") -> int:
    return visitor.open(path, method=method, headers={"Host": host}).status_code


@pytest.mark.parametrize("host", OWN)
def test_on_loopback_it_answers_to_the_machines_own_names(settings: Settings, host: str) -> None:
    assert status(client(settings), host) == 200


@pytest.mark.parametrize("host", OTHERS)
def test_and_to_no_other(settings: Settings, host: str) -> None:
    assert status(client(settings), host) == 421


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/static/js/app.js"),
        ("GET", "/nowhere"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("POST", "/chat"),
        ("POST", "/auth/login"),
        ("GET", "/chat/sse"),
        ("OPTIONS", "/chat"),
        ("HEAD", "/"),
    ],
)
def test_nothing_is_left_out_and_nothing_is_done_before(settings: Settings, method: str, path: str) -> None:
    visitor = client(settings)
    assert status(visitor, "evil.example", path, method) == 421
    assert visitor.get_cookie("switchboard") is None
    assert Runtime(settings).redis.dbsize() == 0


def test_the_refusal_says_what_to_set(settings: Settings) -> None:
    answer = client(settings).get("/", headers={"Host": "chat.example"})
    assert answer.content_type == "application/problem+json"
    problem = answer.get_json(force=True)
    assert problem["type"] == "/problems/wrong-host"
    assert "SWITCHBOARD_HOSTS" in problem["detail"]
    assert "SWITCHBOARD_TRUSTED_PROXIES" in problem["detail"]


def test_names_can_be_added(settings: Settings) -> None:
    visitor = client(settings, hosts=("chat.example", "2001:db8::1"))
    for host in ("chat.example", "Chat.Example:443", "[2001:db8::1]:80", "localhost"):
        assert status(visitor, host) == 200
    assert status(visitor, "evil.example") == 421


def test_behind_a_proxy_and_on_other_addresses_any_name_will_do_unless_some_are_named(settings: Settings) -> None:
    for options in ({"trusted_proxies": 1}, {"host": "0.0.0.0"}, {"host": "192.0.2.1"}):
        assert status(client(settings, **options), "chat.example") == 200
        assert status(client(settings, **options, hosts=("chat.example",)), "chat.example") == 200
        assert status(client(settings, **options, hosts=("chat.example",)), "evil.example") == 421
    # It goes on answering to the address on which it listens, by which `up` and `doctor` ask.
    assert status(client(settings, host="192.0.2.1", hosts=("chat.example",)), "192.0.2.1:8000") == 200


def test_what_a_trusted_proxy_says_counts_and_what_others_say_does_not(settings: Settings) -> None:
    forwarded = {"Host": "backend.internal", "X-Forwarded-Host": "chat.example"}
    named = client(settings, hosts=("chat.example",), trusted_proxies=1)
    assert named.get("/healthz", headers=forwarded).status_code == 200
    assert (
        client(settings).get("/healthz", headers={"Host": "e.example", "X-Forwarded-Host": "localhost"}).status_code
        == 421
    )


def test_the_names_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_HOSTS", "Chat.Example, [2001:db8::1],192.0.2.1,")
    assert Settings().hosts == ("chat.example", "2001:db8::1", "192.0.2.1")
    for wrong in ("https://chat.example", "chat.example:443", "chat.example/x", "*", "[::1]:80"):
        monkeypatch.setenv("SWITCHBOARD_HOSTS", wrong)
        with pytest.raises(ValueError, match="write its name without scheme, port and path"):
            Settings()


def test_the_real_server_does_so_too(tmp_path: Path, own_valkey: Valkey) -> None:
    web = WebProcess(tmp_path, own_valkey)
    try:
        for host, expected in (("localhost", 200), ("evil.example", 421)):
            answer = httpx2.get(f"{web.url}/healthz", headers={"Host": host}, trust_env=False)
            assert answer.status_code == expected
    finally:
        web.close()
