"""Below a path of its own, the application makes no URL and no cookie for the rest of the site."""

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import ValidationError

from core.runtime import Runtime
from core.settings import Settings
from web.app import create_app
from web.context import context_of
from web.middleware.body_limits import limit_of
from web.schemas.requests import Body

ROOT = "/assistant"
SECURE = "https://chat.example"


@pytest.fixture
def below(stack: Settings) -> Iterator[Flask]:
    """The application below ROOT, behind a proxy."""
    runtime = Runtime(stack.model_copy(update={"root_path": ROOT, "trusted_proxies": 1}))
    application = create_app(runtime)
    yield application
    context_of(application).hub.close()
    runtime.close()


@pytest.fixture
def visitor(below: Flask) -> FlaskClient:
    return below.test_client(use_cookies=False)


@pytest.mark.one_database
@pytest.mark.parametrize("handed_on", [ROOT, ""], ids=["whole", "without the root"])
def test_a_session_lives_below_it_however_the_proxy_hands_paths_on(visitor: FlaskClient, handed_on: str) -> None:
    made = visitor.post(f"{handed_on}/session/create", json={}, base_url=SECURE)
    assert made.status_code == 201
    name, *attributes = made.headers["Set-Cookie"].split("; ")
    assert name.startswith("__Secure-switchboard=")  # __Host- is for the path / alone
    assert {"Secure", "HttpOnly", f"Path={ROOT}", "SameSite=Lax"} <= set(attributes)
    cookie = {"Cookie": name}
    current = visitor.get(f"{handed_on}/session/current", base_url=SECURE, headers=cookie)
    assert current.get_json()["session_id"] == made.get_json()["session_id"]
    deleted = visitor.delete(f"{handed_on}/session", base_url=SECURE, headers=cookie)
    assert f"Path={ROOT}" in deleted.headers["Set-Cookie"]


@pytest.mark.one_database
def test_every_url_that_it_makes_begins_with_it(visitor: FlaskClient) -> None:
    page = visitor.get(f"{ROOT}/", base_url=SECURE).get_data(as_text=True)
    local = re.findall(r'(?:href|src)="(/[^"]*)"', page)
    assert len(local) > 4
    assert all(url.startswith(f"{ROOT}/") for url in local)
    with visitor.get(local[0], base_url=SECURE) as logo:
        assert logo.status_code == 200
    assert visitor.get(f"{ROOT}/openapi.json", base_url=SECURE).get_json()["servers"] == [{"url": ROOT}]
    later = visitor.post(f"{ROOT}/session/create", json={}, base_url=SECURE, headers={"Prefer": "respond-async"})
    assert later.headers["Location"].startswith(f"{ROOT}/tasks/")


@pytest.mark.one_database
def test_a_message_may_be_as_long_as_anywhere(below: Flask) -> None:
    assert limit_of(below, "POST", f"{ROOT}/chat") == limit_of(below, "POST", "/chat") > Body.limit


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("path", "status"),
    [
        (ROOT, 200),
        (f"{ROOT}/", 200),
        ("/healthz", 200),  # a probe of this machine
        (f"{ROOT}/healthz", 200),
        (f"{ROOT}{ROOT}/healthz", 404),
        (f"{ROOT}s/healthz", 404),
        (f"{ROOT}/../healthz", 404),
        (f"{ROOT.upper()}/healthz", 404),
    ],
)
def test_only_whole_segments_count(visitor: FlaskClient, path: str, status: int) -> None:
    assert visitor.get(path, base_url=SECURE).status_code == status


@pytest.mark.one_database
def test_a_root_that_is_also_a_paths_beginning_is_taken_off_once(stack: Settings) -> None:
    runtime = Runtime(stack.model_copy(update={"root_path": "/session"}))
    visitor = create_app(runtime).test_client()
    assert visitor.post("/session/session/create", json={}).status_code == 201
    assert visitor.get("/session/session/current").status_code == 200
    runtime.close()


@pytest.mark.parametrize(
    ("written", "root"), [("/assistant", "/assistant"), ("/a/b-c/", "/a/b-c"), ("/", ""), ("", "")]
)
def test_the_setting_is_a_path(written: str, root: str) -> None:
    assert Settings(root_path=written).root_path == root


@pytest.mark.parametrize(
    "written",
    [
        "assistant",
        "https://chat.example/a",
        "//evil.example",
        "/a//b",
        "/../a",
        "/.",
        "/a?b",
        "/a b",
        "/a;b",
        "/ä",
    ],
)
def test_and_nothing_else(written: str) -> None:
    with pytest.raises(ValidationError, match="begin it with a slash"):
        Settings(root_path=written)
