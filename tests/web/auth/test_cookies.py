"""Every cookie is as hard to take and to forge as a browser can make it."""

from datetime import timedelta

import pytest
from flask import Flask, Response

from web.auth.cookies import DEVICE, LOGIN, OIDC, SESSION, Cookie

COOKIES = [SESSION, LOGIN, DEVICE, OIDC]


def _set(app: Flask, cookie: Cookie, url: str) -> str:
    response = Response()
    with app.test_request_context(base_url=url):
        cookie.set_value(response, "value", timedelta(minutes=10))
    return response.headers["Set-Cookie"]


@pytest.mark.parametrize("cookie", COOKIES, ids=lambda cookie: cookie.plain_name)
def test_over_https_the_name_makes_the_browser_insist_on_it(cookie: Cookie) -> None:
    name, *attributes = _set(Flask(__name__), cookie, "https://chat.example").split("; ")
    assert name == f"__Host-{cookie.plain_name}=value"
    assert {"Secure", "HttpOnly", "Path=/", "Max-Age=600", "SameSite=Lax"} <= set(attributes)
    assert not any(attribute.startswith("Domain") for attribute in attributes)


@pytest.mark.parametrize("cookie", COOKIES, ids=lambda cookie: cookie.plain_name)
def test_over_plain_http_it_has_its_plain_name(cookie: Cookie) -> None:
    name, *attributes = _set(Flask(__name__), cookie, "http://localhost").split("; ")
    assert name == f"{cookie.plain_name}=value"
    assert "Secure" not in attributes
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(attributes)


@pytest.mark.parametrize("url", ["https://chat.example", "http://localhost"])
def test_what_was_set_is_read_and_cleared_under_the_same_name(url: str) -> None:
    app, response = Flask(__name__), Response()
    name = _set(app, SESSION, url).split("=")[0]
    with app.test_request_context(base_url=url, headers={"Cookie": f"{name}=value"}):
        assert SESSION.read_value() == "value"
        SESSION.clear(response)
    assert response.headers["Set-Cookie"].startswith(f"{name}=; Expires=Thu, 01 Jan 1970")


def test_each_has_a_name_of_its_own() -> None:
    names = [name for cookie in COOKIES for name in cookie.names]
    assert len(set(names)) == len(names)
