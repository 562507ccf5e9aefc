"""A page on another origin, in real Chromium, with the cookies of a visitor who holds a session here.

The other page comes once from another host (another site: SameSite keeps the cookies back) and once from another
port of the same host (the same site: the browser sends the cookies along).
"""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.e2e.system import System
from tests.support.waiting import wait_for

EVIL_PAGE = b"<!doctype html><title>Win a prize</title><body>"


class _EvilHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(EVIL_PAGE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture(scope="module")
def evil_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _EvilHandler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


class Victim:
    """A visitor with a session, who also has an evil page open."""

    def __init__(self, context: BrowserContext, base_url: str, evil_url: str) -> None:
        self.context = context
        self.base_url = base_url
        self._sent: dict[str, str] = {}
        self._answered: dict[str, int] = {}
        own = context.new_page()
        own.goto(base_url)
        own.evaluate("fetch('/session/create', {method: 'POST'})")
        self.cookie = self._cookie()
        self.evil = context.new_page()
        self.evil.goto(evil_url)
        # Playwright tells of answers that a page may see; the network's own log tells of the others too.
        network = context.new_cdp_session(self.evil)
        network.send("Network.enable")
        network.on("Network.requestWillBeSentExtraInfo", self._note_request)
        network.on("Network.responseReceivedExtraInfo", self._note_answer)

    def _note_request(self, told: dict[str, Any]) -> None:
        if self.base_url.endswith("//" + told["headers"].get("Host", "")):
            self._sent[told["requestId"]] = told["headers"].get("Cookie", "")

    def _note_answer(self, told: dict[str, Any]) -> None:
        self._answered[told["requestId"]] = told["statusCode"]

    def exchange(self) -> tuple[str, int]:
        """The cookies that came with the evil page's one request to us, and the status of its answer, whether or
        not the page got to see it."""
        wait_for(lambda: self.evil.evaluate("1") and self._sent.keys() & self._answered, what="an answer")
        ((request, cookies),) = self._sent.items()
        return cookies, self._answered[request]

    def _cookie(self) -> Any:
        (cookie,) = (each for each in self.context.cookies() if each["name"] == "switchboard")
        return cookie["value"]

    def unharmed(self) -> bool:
        """The session is there, under the same cookie, and nothing was said in its name."""
        told = self.context.request.get(f"{self.base_url}/session/messages").json()
        return bool(self._cookie() == self.cookie and told == {"messages": [], "cursor": None, "before": None})

    def attempt(self, script: str) -> Any:
        """What a script of the evil page gets to see; `here` is our address."""
        return self.evil.evaluate(f"here => {script}", self.base_url)


@pytest.fixture(params=["localhost", "127.0.0.1"])
def victim(request: pytest.FixtureRequest, browser: Browser, system: System, evil_port: int) -> Iterator[Victim]:
    context = browser.new_context()
    yield Victim(context, system.base_url, f"http://{request.param}:{evil_port}/")
    context.close()


SEEN = ".then(async (answer) => [answer.type, await answer.text()], (error) => error.name)"
"""What a script learns of an answer."""


def _fetch(path: str, **options: Any) -> str:
    given = {"credentials": "include", **options}
    return f"fetch(here + '{path}', {given!r})".replace("True", "true") + SEEN


@pytest.mark.parametrize(
    ("path", "body"), [("/session/create", ""), ("/session/refresh", ""), ("/chat", '{"message": "Evil"}')]
)
def test_it_cant_post(victim: Victim, path: str, body: str) -> None:
    """As a form could: no header that asks first, and no wish to see the answer."""
    victim.attempt(_fetch(path, method="POST", mode="no-cors", body=body))
    assert victim.exchange()[1] == 403
    assert victim.unharmed()


def test_from_the_same_site_the_cookie_does_come_along(victim: Victim) -> None:
    """So that what is shown here is this server's doing, and not only the browser's."""
    victim.attempt(_fetch("/session/refresh", method="POST", mode="no-cors"))
    same_site = "127.0.0.1" in victim.evil.url
    cookies, _ = victim.exchange()
    assert bool(cookies) == same_site


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH"])
def test_it_cant_send_what_needs_asking_first(victim: Victim, method: str) -> None:
    path = "/chat" if method == "POST" else "/session"
    headers = {"Content-Type": "application/json"}
    assert victim.attempt(_fetch(path, method=method, headers=headers, body='{"message": "Evil"}')) == "TypeError"
    assert victim.unharmed()


@pytest.mark.parametrize("path", ["/session/create", "/chat"])
def test_it_cant_post_a_form(victim: Victim, path: str) -> None:
    with victim.context.expect_page() as opened:
        victim.attempt(
            f"""{{
              const form = Object.assign(document.createElement("form"),
                {{method: "post", action: here + "{path}", target: "_blank", enctype: "text/plain"}});
              document.body.append(form);
              form.submit();
            }}"""
        )
    opened.value.wait_for_load_state()
    assert '"/problems/cross-site"' in opened.value.content()
    assert victim.unharmed()


@pytest.mark.parametrize("path", ["/session/current", "/session/messages", "/sessions", "/auth/me", "/config/models"])
@pytest.mark.parametrize("mode", ["cors", "no-cors"])
def test_it_cant_read(victim: Victim, path: str, mode: str) -> None:
    assert victim.attempt(_fetch(path, mode=mode)) == "TypeError"


def test_it_cant_open_a_stream(victim: Victim) -> None:
    got = victim.attempt(
        """new Promise((resolve) => {
          const source = new EventSource(here + "/chat/sse", {withCredentials: true});
          source.onopen = () => resolve("open");
          source.onerror = () => resolve("refused");
        })"""
    )
    assert got == "refused"
    assert victim.exchange()[1] == 403, "nothing is held open for it either"


def test_it_cant_load_an_answer_as_a_script_or_frame_the_page(victim: Victim) -> None:
    loaded = victim.attempt(
        """new Promise((resolve) => {
          const script = Object.assign(document.createElement("script"), {src: here + "/session/current"});
          script.onload = () => resolve("loaded");
          script.onerror = () => resolve("refused");
          document.body.append(script);
        })"""
    )
    assert loaded == "refused"
    victim.attempt("document.body.append(Object.assign(document.createElement('iframe'), {src: here}))")
    frame = victim.evil.frames[-1]
    frame.wait_for_load_state()
    assert frame.locator("#composer").count() == 0


def test_it_cant_hold_on_to_a_window(victim: Victim) -> None:
    with victim.context.expect_page() as opened:
        victim.attempt("{ window.opened = window.open(here) }")
    opened.value.wait_for_load_state()
    assert victim.evil.evaluate("window.opened.closed"), "the opener policy cuts the two windows apart"


def test_the_same_attempts_succeed_for_the_page_itself(browser: Browser, system: System) -> None:
    """Else the refusals above would show nothing."""
    context = browser.new_context()
    page: Page = context.new_page()
    page.goto(system.base_url)
    for script in (_fetch("/session/create", method="POST"), _fetch("/session/refresh", method="POST")):
        kind, text = page.evaluate(f"here => {script}", system.base_url)
        assert kind == "basic"
        assert '"session_id"' in text
    opened = page.evaluate(
        """here => new Promise((resolve) => {
          const source = new EventSource(here + "/chat/sse", {withCredentials: true});
          source.onopen = () => { source.close(); resolve("open"); };
          source.onerror = () => resolve("refused");
        })""",
        system.base_url,
    )
    assert opened == "open"
    context.close()
