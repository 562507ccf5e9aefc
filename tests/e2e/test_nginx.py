"""deploy/nginx.conf in a real nginx, before a real web process."""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from core.conversation.event_log import EventLog
from core.sessions.credential import Credential
from tests.support.certificate import certify
from tests.support.nginx import MISSING, Nginx, find_nginx
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import ROOT, WebProcess, free_port
from tests.web.sse import ServerEvent, events

CONNECTIONS = 8
"""How many one address may have here: few, so that a test can reach it."""
BUFFERING = """
server {{
    listen {port};
    location / {{
        proxy_pass http://127.0.0.1:{web};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_ignore_headers X-Accel-Buffering;
        gzip on;
        gzip_types text/event-stream;
    }}
}}
"""
"""What people write who have not thought of streams, in an nginx that does not heed our header either."""


class Behind:
    """A web process, as it is seen through nginx."""

    def __init__(self, web: WebProcess, url: str, certificate: Path) -> None:
        self.web = web
        self.url = url
        self.certificate = certificate
        self.log = EventLog(web.valkey.client())
        self.client = httpx2.Client(
            base_url=url, verify=ssl.create_default_context(cafile=str(certificate)), timeout=10, trust_env=False
        )

    def append(self, session: Credential, number: int) -> str:
        """Append an event, and give its id."""
        return str(self.log.append(session.session_id, "delta", {"n": number}, expires_at=self.web.expires_at))

    @contextmanager
    def stream(self, session: Credential, after: str | None = None) -> Iterator[Iterator[ServerEvent]]:
        """A session's events."""
        headers = {"X-Session-ID": str(session)} | ({"Last-Event-ID": after} if after else {})
        with self.client.stream("GET", "/chat/sse", headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert "content-encoding" not in answer.headers
            yield events(answer.iter_raw())


@pytest.fixture(scope="module")
def web(short_directory: Path) -> Iterator[WebProcess]:
    """The web process, which believes one proxy."""
    if find_nginx() is None:
        pytest.skip(MISSING)
    directory = short_directory / "nginx-web"
    directory.mkdir()
    valkey = Valkey(directory)
    process = WebProcess(directory, valkey, SWITCHBOARD_TRUSTED_PROXIES="1")
    yield process
    process.close()
    valkey.stop()


@pytest.fixture(scope="module")
def behind(web: WebProcess, short_directory: Path) -> Iterator[Behind]:
    """The file itself, with other ports, another name and a certificate for it."""
    key, certificate = short_directory / "key.pem", short_directory / "certificate.pem"
    certify(key, certificate)
    port, plain_port, directory = free_port(), free_port(), short_directory / "nginx"
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for old, new in {
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{web.port};",
        "listen 80;": f"listen 127.0.0.1:{plain_port};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        "chat.example.org;": "localhost;",
        "/etc/ssl/switchboard/fullchain.pem": str(certificate),
        "/etc/ssl/switchboard/privkey.pem": str(key),
        "/var/log/nginx/switchboard.log": str(directory / "server.log"),
        "limit_conn connections 1000;": f"limit_conn connections {CONNECTIONS};",
    }.items():
        assert old in text
        text = text.replace(old, new)
    nginx = Nginx(directory, text)
    through = Behind(web, f"https://localhost:{port}", certificate)
    wait_for(lambda: _answers(through.client), what="nginx answers")
    yield through
    through.client.close()
    nginx.stop()


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx2.ConnectError:
        return False


def test_events_arrive_one_by_one(behind: Behind) -> None:
    (session,) = behind.web.new_sessions(1)
    with behind.stream(session, after=behind.append(session, 0)) as stream:
        for number in range(1, 20):
            # The next event is not appended before this one has arrived: nothing can be waiting for it.
            event_id = behind.append(session, number)
            assert next(stream) == ServerEvent(event_id, "delta", {"n": number})


def test_the_first_byte_comes_before_the_first_event(behind: Behind) -> None:
    (session,) = behind.web.new_sessions(1)
    with behind.client.stream("GET", "/chat/sse", headers={"X-Session-ID": str(session)}) as answer:
        assert next(answer.iter_raw()).startswith(b": ")


def test_a_reader_goes_on_where_it_was_cut(behind: Behind) -> None:
    (session,) = behind.web.new_sessions(1)
    ids = [behind.append(session, number) for number in range(6)]
    with behind.stream(session, after=ids[0]) as stream:
        assert [next(stream).id for _ in range(2)] == ids[1:3]
    with behind.stream(session, after=ids[2]) as stream:
        assert [next(stream).id for _ in range(3)] == ids[3:]


def test_one_address_has_so_many_streams_and_no_more(behind: Behind) -> None:
    sessions = behind.web.new_sessions(CONNECTIONS + 1)
    with ExitStack() as stack:
        for session in sessions[:CONNECTIONS]:
            stack.enter_context(behind.stream(session, after=behind.append(session, 0)))
        refused = behind.client.get("/chat/sse", headers={"X-Session-ID": str(sessions[CONNECTIONS])})
        assert refused.status_code == 429
    wait_for(lambda: behind.client.get("/healthz").status_code == 200, what="those that have ended make room")


def test_the_application_knows_that_it_is_spoken_to_over_https(behind: Behind) -> None:
    answer = behind.client.get("/healthz")
    assert answer.headers["strict-transport-security"]
    with httpx2.Client(trust_env=False) as client:
        assert "strict-transport-security" not in client.get(f"{behind.web.url}/healthz").headers


def test_the_doctor_finds_nothing_in_the_way(behind: Behind) -> None:
    result = _doctor(behind.url, SSL_CERT_FILE=str(behind.certificate))
    assert result.returncode == 0, result
    assert "5 events arrived one by one" in result.stdout


def test_the_doctor_finds_a_proxy_that_gathers(web: WebProcess, short_directory: Path) -> None:
    port = free_port()
    nginx = Nginx(short_directory / "gathering", BUFFERING.format(port=port, web=web.port))
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_for(lambda: _answers(client), what="nginx answers")
        result = _doctor(f"http://127.0.0.1:{port}/")
    finally:
        nginx.stop()
    assert result.returncode == 1, result
    assert "4 of 5 events came together with the one before" in result.stderr
    assert "proxy_buffering off" in result.stdout


def _doctor(url: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).with_name("switchboard"), "doctor", "--stream", url],
        env={**os.environ, "NO_PROXY": "*", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
