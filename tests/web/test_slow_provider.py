"""A real web process whose identity provider answers drop by drop, or without end."""

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import pytest
import requests

from core.auth.issuer_http import FETCH_TIMEOUT
from tests.support.issuer import AUDIENCE, CLIENT_ID, Issuer, drip, drip_head, flood
from tests.support.valkey import Valkey
from tests.support.web_process import WebProcess

METADATA = "/.well-known/openid-configuration"
PATIENCE = FETCH_TIMEOUT + 2
"""Seconds for the provider, and some of a busy machine's."""
AWAY = "The identity provider is away; try again in a moment."


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    yield server
    server.stop()


@pytest.fixture
def web(issuer: Issuer) -> Iterator[WebProcess]:
    issuer.instead = {}
    directory = Path(tempfile.mkdtemp(prefix="sb-provider-"))
    valkey = Valkey(directory)
    process = WebProcess(
        directory,
        valkey,
        SWITCHBOARD_OIDC_ISSUER=issuer.url,
        SWITCHBOARD_OIDC_AUDIENCE=AUDIENCE,
        SWITCHBOARD_OIDC_CLIENT_ID=CLIENT_ID,
    )
    yield process
    process.close()
    valkey.stop()
    shutil.rmtree(directory)


def _answer(web: WebProcess, path: str, token: str = "") -> tuple[int, str, float]:
    """Status, detail, seconds."""
    began = time.monotonic()
    answer = requests.get(
        f"{web.url}{path}",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        allow_redirects=False,
        timeout=30,
    )
    return answer.status_code, answer.json().get("detail", ""), time.monotonic() - began


def _most_memory(web: WebProcess) -> int:
    """KiB that the worker has had at the most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{web.worker.pid}/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("answer", [drip, drip_head])
def test_a_login_is_not_kept_waiting(
    web: WebProcess, issuer: Issuer, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    issuer.instead[METADATA] = answer
    status, detail, seconds = _answer(web, "/auth/oidc/login")
    assert (status, detail) == (503, AWAY)
    assert seconds < PATIENCE


def test_nor_are_tokens_behind_one_another(web: WebProcess, issuer: Issuer) -> None:
    begun = Event()

    def begin(handler: BaseHTTPRequestHandler) -> None:
        begun.set()
        drip(handler)

    issuer.instead["/keys"] = begin
    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(_answer, web, "/auth/me", issuer.token()) for _ in range(6)]
        assert begun.wait(10)
        assert _answer(web, "/healthz")[2] < 1  # others are not kept waiting
        answers = [each.result() for each in asked]
    assert {answer[:2] for answer in answers} == {(503, AWAY)}
    assert max(seconds for *_, seconds in answers) < PATIENCE


def test_an_answer_without_end_takes_no_memory(web: WebProcess, issuer: Issuer) -> None:
    issuer.instead[METADATA] = flood
    before = _most_memory(web)
    status, detail, seconds = _answer(web, "/auth/oidc/login")
    assert (status, "tell the operator" in detail) == (503, True)
    assert seconds < PATIENCE
    assert _most_memory(web) - before < 50_000
