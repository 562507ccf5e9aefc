"""A page whose name points to this machine (DNS rebinding), in real Chromium: nothing here is its own."""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, Playwright

from tests.e2e.browser import MISSING, find_chromium, launch
from tests.e2e.system import System

NAME = "evil.example"


@pytest.fixture(scope="module")
def rebound(playwright: Playwright) -> Iterator[Browser]:
    """A browser in whose name service the page's name is this machine's address."""
    path = find_chromium()
    if path is None:
        pytest.skip(MISSING)
    with launch(playwright, path, f"--host-resolver-rules=MAP {NAME} 127.0.0.1") as browser:
        yield browser


def _told(system: System) -> dict[str, str]:
    told: dict[str, str] = json.loads((system.state_dir / "runtime.json").read_text())
    return told


@pytest.mark.parametrize(
    "path", ["/", "/workers?json=1", "/tasks", "/metrics", "/healthcheck", "/api/tasks", "/static/css/flower.css"]
)
def test_flower_shows_it_nothing(rebound: Browser, system: System, path: str) -> None:
    page = rebound.new_page()
    answer = page.goto(f"http://{NAME}:{urlsplit(system.flower_url).port}{path}")
    assert answer
    assert answer.status == 421
    assert "SWITCHBOARD_HOSTS" in page.content()
    page.close()
    assert httpx2.get(system.flower_url + path, trust_env=False).status_code in (200, 401)


def test_the_chat_page_is_not_its_own(rebound: Browser, system: System) -> None:
    page = rebound.new_page()
    answer = page.goto(f"http://{NAME}:{urlsplit(system.base_url).port}/")
    assert answer
    assert answer.status == 421
    script = "fetch('/session/create', {method: 'POST'}).then((answer) => answer.status)"
    assert page.evaluate(script) == 421
    page.close()


def test_the_model_does_not_work_for_it(rebound: Browser, system: System) -> None:
    page = rebound.new_page()
    page.goto(f"http://{NAME}:{urlsplit(_told(system)['model_url']).port}/health")
    for path in ("/v1/chat/completions", "/completion", "/tokenize", "/v1/embeddings", "/slots"):
        script = f"fetch('{path}', {{method: 'POST', body: '{{}}'}}).then((answer) => answer.status)"
        assert page.evaluate(script) == 401
    for path in ("/v1/models", "/models", "/props", "/slots", "/metrics", "/lora-adapters"):
        assert page.evaluate(f"fetch('{path}').then((answer) => answer.status)") == 401
    page.close()


def test_the_key_is_the_runs_own_and_is_nowhere_to_be_seen(system: System) -> None:
    told = _told(system)
    key = told["model_key"]
    assert len(key) >= 32
    answer = httpx2.get(f"{told['model_url']}/models", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
    assert answer.status_code == 200
    assert key not in system.output
    for process in system.processes():
        assert key not in " ".join(process.cmdline())
    for log in (system.state_dir / "logs").iterdir():
        assert key not in log.read_text()
