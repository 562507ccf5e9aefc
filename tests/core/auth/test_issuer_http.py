"""What a provider's server may do to those who ask it: it is given three seconds and a mebibyte."""

import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from core.auth import issuer_http
from core.auth.issuer_http import FETCH_TIMEOUT, MAX_ANSWER, FetchFailed, fetch
from tests.support.certificate import certify
from tests.support.issuer import Issuer, answer_with, drip, drip_head, flood
from tests.support.waiting import wait_for

METADATA = "/.well-known/openid-configuration"
DEADLINE = 0.5


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    yield server
    server.stop()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_http, "FETCH_TIMEOUT", DEADLINE)


def _fetching() -> bool:
    return any(thread.name == "issuer" for thread in threading.enumerate())


@contextmanager
def _dripping(first: bytes) -> Iterator[int]:
    """The port of a server that says something, and then a byte at a time; its connections are waited for."""
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.sendall(first)
                    while True:
                        connection.sendall(b"x")
                        time.sleep(0.1)
                except OSError:
                    left.set()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        assert left.wait(5)


def _fails_in_time(url: str) -> FetchFailed:
    began = time.monotonic()
    with pytest.raises(FetchFailed) as raised:
        fetch(url)
    assert time.monotonic() - began < DEADLINE + 1
    assert raised.value.passing
    wait_for(lambda: not _fetching(), seconds=5)
    return raised.value


@pytest.mark.parametrize("answer", [drip, drip_head])
@pytest.mark.usefixtures("short")
def test_an_answer_that_comes_drop_by_drop_is_not_waited_for(
    issuer: Issuer, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    issuer.instead["/keys"] = answer
    assert "gives no whole answer within" in str(_fails_in_time(f"{issuer.url}/keys"))


@pytest.mark.usefixtures("short")
def test_nor_is_a_handshake() -> None:
    # The head of a TLS record, whose body comes drop by drop.
    with _dripping(b"\x16\x03\x03\x40\x00") as port:
        _fails_in_time(f"https://127.0.0.1:{port}/keys")


@pytest.mark.usefixtures("short")
def test_nor_is_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with _dripping(b"HTTP/1.1 200 OK\r\nX-Long: ") as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        _fails_in_time("https://issuer.example/keys")


def test_of_an_answer_without_end_little_is_read(issuer: Issuer) -> None:
    issuer.instead["/keys"] = flood
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FetchFailed, match="answers with more than 1,048,576 bytes") as raised:
        fetch(f"{issuer.url}/keys")
    assert not raised.value.passing
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_as_much_as_that_is_read(issuer: Issuer) -> None:
    whole = json.dumps({"a": "x" * (MAX_ANSWER - len('{"a": ""}'))}).encode()
    issuer.instead["/keys"] = answer_with(200, whole)
    assert fetch(f"{issuer.url}/keys").body == whole
    issuer.instead["/keys"] = answer_with(200, whole + b" ")
    with pytest.raises(FetchFailed):
        fetch(f"{issuer.url}/keys")


@pytest.mark.parametrize(
    ("status", "body", "said", "passing"),
    [
        (302, b"", "answers with 302, a redirect, which is not followed", False),
        (307, b"{}", "answers with 307, a redirect, which is not followed", False),
        (404, b"{}", "answers with 404", False),
        (429, b"{}", "answers with 429", True),
        (500, b"<html>", "answers with 500", True),
        (200, b"<html>", "answers with something that is no JSON object", False),
        (200, b"[]", "answers with something that is no JSON object", False),
        (200, b"[" * 100_000, "answers with something that is no JSON object", False),
        (200, b"\xff", "answers with something that is no JSON object", False),
    ],
)
def test_what_is_no_object_is_said_to_be_none(
    issuer: Issuer, status: int, body: bytes, said: str, passing: bool
) -> None:
    issuer.instead["/keys"] = answer_with(status, body, Location=f"{issuer.url}{METADATA}")
    with pytest.raises(FetchFailed) as raised:
        fetch(f"{issuer.url}/keys").json_object()
    assert (str(raised.value), raised.value.passing) == (said, passing)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/keys", "keys", "http://127.0.0.1:x/"])
def test_nothing_but_http_is_asked(url: str) -> None:
    with pytest.raises(FetchFailed, match="can't be asked"):
        fetch(url)


def test_a_certificate_that_is_not_trusted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ssl

    certify(tmp_path / "key", tmp_path / "certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    issuer = Issuer(tls=context)
    with pytest.raises(FetchFailed, match=r"is not trusted \(.*\): SSL_CERT_FILE") as raised:
        fetch(f"{issuer.url}/keys")
    assert not raised.value.passing
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate"))
    assert fetch(f"{issuer.url}/keys").json_object() == issuer.public_keys()
    issuer.instead["/keys"] = drip
    monkeypatch.setattr(issuer_http, "FETCH_TIMEOUT", DEADLINE)
    _fails_in_time(f"{issuer.url}/keys")
    issuer.stop()


def test_the_deadline_is_short() -> None:
    assert FETCH_TIMEOUT <= 3
