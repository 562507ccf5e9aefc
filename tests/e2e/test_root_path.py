"""Below paths of a site, as proxies serve them: the chat page, its API and streams, and Flower behind a password."""

from collections.abc import Iterator
from typing import NamedTuple

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.system import System, running
from tests.support.nginx import MISSING, Nginx, find_nginx
from tests.support.waiting import wait_for
from tests.support.web_process import free_port

SITE = """
server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    location / {{ return 418; }}
    location /tools/chat/ {{ proxy_pass {web}{web_path}; proxy_buffering off; }}
    location /tools/flower/ {{ proxy_pass {flower}; }}
}}
"""
OPERATOR = ("operator", "several words")


class Site(NamedTuple):
    """Two servers with Switchboard below a path: one hands the path on whole, the other without its beginning."""

    system: System
    whole: str
    stripped: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if find_nginx() is None:
        pytest.skip(MISSING)
    directory = tmp_path_factory.mktemp("site")
    environment = {
        "SWITCHBOARD_ROOT_PATH": "/tools/chat",
        "SWITCHBOARD_TRUSTED_PROXIES": "1",
        "FLOWER_URL_PREFIX": "/tools/flower",
        "FLOWER_BASIC_AUTH": ":".join(OPERATOR),
    }
    with running(directory / "state", **environment) as system:
        ports = [free_port(), free_port()]
        servers = [
            SITE.format(port=port, web=system.base_url, web_path=path, flower=system.flower_url)
            for port, path in zip(ports, ("", "/"), strict=True)
        ]
        nginx = Nginx(directory / "nginx", "".join(servers))
        yield Site(system, *(f"http://localhost:{port}" for port in ports))
        nginx.stop()


@pytest.mark.parametrize("handed_on", ["whole", "stripped"])
def test_a_conversation_in_a_browser(site: Site, browser: Browser, handed_on: str) -> None:
    address = getattr(site, handed_on)
    context = browser.new_context()
    page = context.new_page()
    outside: list[str] = []
    page.on("response", lambda response: outside.append(response.url) if response.status == 418 else None)
    page.goto(f"{address}/tools/chat/")
    page.get_by_role("textbox", name="Message").fill("Say hello.")
    page.keyboard.press("Enter")
    answer = page.locator("#log [data-state=complete]").first
    expect(answer).to_be_visible(timeout=60_000)
    shown = answer.inner_text()
    assert {cookie["path"] for cookie in context.cookies()} == {"/tools/chat"}
    page.reload()
    expect(page.locator("#log")).to_contain_text("Say hello.")
    expect(answer).to_have_text(shown, use_inner_text=True)
    assert not outside
    context.close()


def test_flower_shows_itself_to_those_who_have_the_password(site: Site) -> None:
    flower = f"{site.whole}/tools/flower"
    with httpx2.Client(trust_env=False) as stranger, httpx2.Client(trust_env=False, auth=OPERATOR) as operator:
        for path in ("/", "/tasks", "/workers?json=1", "/metrics", "/api/tasks", "/broker"):
            assert stranger.get(flower + path).status_code == 401, path
        assert stranger.get(f"{flower}/healthcheck").text == "OK"
        page = operator.get(f"{flower}/")
        assert page.status_code == 200
        assert "/tools/flower/static/" in page.text
        assert "flower_worker_online" in operator.get(f"{flower}/metrics").text
        assert stranger.get(f"{flower}/metrics", auth=("operator", "other words")).status_code == 401


def test_its_history_outlives_it_and_its_buckets_reach_to_minutes(site: Site) -> None:
    with httpx2.Client(base_url=site.system.flower_url, trust_env=False, auth=OPERATOR) as flower:
        tasks = "/tools/flower/api/tasks"
        before = wait_for(lambda: flower.get(tasks).json(), what="Flower knows of tasks")
        process = site.system.child("switchboard flower")
        assert process
        process.terminate()
        wait_for(lambda: not process.is_running(), what="Flower has stopped")
        wait_for(lambda: _answers(flower, "/tools/flower/healthcheck"), seconds=30, what="Flower is back")
        assert set(before) <= set(flower.get(tasks).json())
        wait_for(lambda: 'le="600.0"' in flower.get("/tools/flower/metrics").text, what="a task has ended")


def _answers(client: httpx2.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx2.HTTPError:
        return False
