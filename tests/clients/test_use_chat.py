"""The example page on `useChat`, as it is built, in a real browser against the whole system."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.clients.node import NODE, require_packages
from tests.e2e.browser import MISSING, find_chromium, launch
from tests.e2e.system import free_ports, running
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for

EXAMPLE = Path(__file__).parents[2] / "examples/use-chat"
VITE = "node_modules/vite/bin/vite.js"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer) -> Iterator[str]:
    """Where the page is served, by Vite's own server, from the same origin as the system."""
    require_packages(EXAMPLE)
    directory = tmp_path_factory.mktemp("use-chat")
    built = str(directory / "built")
    subprocess.run([NODE, VITE, "build", "--outDir", built], cwd=EXAMPLE, check=True, timeout=120)
    models = directory / "models.toml"
    models.write_text(
        provider.models_toml().replace('default = "good"', 'default = "paused"').replace("= 0.6", "= 20")
    )
    with running(directory / "state", SWITCHBOARD_MODELS=str(models)) as system:
        (port,) = free_ports(1)
        serve = [
            str(NODE),
            VITE,
            "preview",
            "--outDir",
            built,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--strictPort",
        ]
        environment = {**os.environ, "SWITCHBOARD_URL": system.base_url}
        # `node` of the wheel is a program that starts another one, which would outlive it.
        server = subprocess.Popen(serve, cwd=EXAMPLE, env=environment, start_new_session=True)
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: _answers(address), seconds=30, what="Vite serves the page")
            yield address
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


def _answers(address: str) -> bool:
    try:
        return httpx2.get(address, timeout=2, trust_env=False).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium."""
    path = find_chromium()
    if path is None:
        pytest.skip(MISSING)
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright, launch(playwright, path) as started:
        yield started


def _ask(page: Page, question: str) -> None:
    page.get_by_label("Question").fill(question)
    page.get_by_role("button", name="Ask").click()


def test_a_conversation_a_reload_in_mid_answer_and_a_stop(
    url: str, browser: Browser, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    page = browser.new_page()
    page.goto(url)
    answer = page.get_by_role("article", name="assistant")

    _ask(page, "Why?")
    expect(answer).to_have_text(re.compile(r"^Wait\.*"))
    page.reload()
    expect(answer).to_have_text(re.compile(r"^Wait\.*$"))
    expect(page.get_by_role("article")).to_have_count(2)
    provider.go_on.set()
    expect(answer).to_have_text(re.compile(r"^Wait\.* for it$"))
    expect(answer).to_have_attribute("data-state", "stop")
    expect(page.get_by_role("button", name="Ask")).to_be_visible()

    provider.go_on.clear()
    _ask(page, "And now?")
    expect(answer.nth(1)).to_have_text(re.compile(r"^Wait\.*"))
    page.get_by_role("button", name="Stop").click()
    expect(answer.nth(1)).to_have_attribute("data-state", "stopped")
    provider.go_on.set()
    shown = page.get_by_role("article").all_inner_texts()
    page.reload()
    expect(page.get_by_role("article")).to_have_text(shown)

    kept = page.evaluate("fetch('/api/chat/mine/messages').then((response) => response.json())")
    assert ["".join(part.get("text", "") for part in message["parts"]) for message in kept] == shown
    page.close()
