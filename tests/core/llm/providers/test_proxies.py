"""Proxies and certificates, as users have them in their environment."""

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError, Turn
from core.llm.providers.connection_errors import RequestProgress, connection_error
from core.llm.providers.proxies import proxy_for
from core.llm.providers.wire import endpoint
from tests.support.certificate import certify
from tests.support.provider import ANSWER, ProviderServer
from tests.support.proxy import Proxy
from tests.support.reading import read_text

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
OUTSIDE = "http://models.example/v1"
"""A server that only a proxy finds."""


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """A model's server."""
    one = ProviderServer()
    yield one
    one.stop()


@pytest.fixture
def proxy(server: ProviderServer) -> Iterator[Proxy]:
    """A proxy before it."""
    one = Proxy(("127.0.0.1", int(server.url.rpartition(":")[2].partition("/")[0])))
    yield one
    one.stop()


def _pool(*urls: str, provider: str = "openai") -> ClientPool:
    tables = {
        f"m{number}": ModelConfig(label="M", provider=provider, base_url=url, model="good", connect_timeout=1)  # type: ignore[arg-type]
        for number, url in enumerate(urls)
    }
    return ClientPool(ModelCatalog(default="m0", models=tables), "")


def _answer(pool: ClientPool, name: str = "m0") -> str:
    return read_text(pool.open(name, [Turn("user", "Why?")]))


def _error(pool: ClientPool, name: str = "m0") -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        _answer(pool, name)
    return raised.value


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["", "http://", "socks5://", "socks5h://", "socks://", "SOCKS5://"])
def test_a_server_outside_is_asked_through_the_proxy(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    monkeypatch.setenv(variable, f"{scheme}me:pw@127.0.0.1:{proxy.port}/")
    assert _answer(_pool(OUTSIDE)) == ANSWER
    assert "models.example" in proxy.asked[0], "the proxy looks the name up"
    assert proxy.users in (["me:pw"], ["bWU6cHc="])


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_an_answer_comes_through_any_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, encrypted: bool
) -> None:
    certify(tmp_path / "key.pem", tmp_path / "certificate.pem", "models.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    server = ProviderServer(tls=context if encrypted else None)
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    proxy = Proxy(("127.0.0.1", port), tls=context if scheme == "https" else None)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:pw@localhost:{proxy.port}")
    try:
        assert _answer(_pool(OUTSIDE.replace("http:", "https:") if encrypted else OUTSIDE)) == ANSWER
        assert "models.example" in proxy.asked[0]
        assert proxy.users in (["me:pw"], ["bWU6cHc="])
    finally:
        proxy.stop()
        server.stop()


def test_a_user_in_the_address_is_shown_to_the_server(server: ProviderServer) -> None:
    assert _answer(_pool(server.url.replace("http://", "http://me:p%40w@"))) == ANSWER
    assert server.requests[-1]["authorization"] == "Basic bWU6cEB3"


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_encryption_goes_through_the_proxy_to_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    certify(tmp_path / "key.pem", tmp_path / "certificate.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    encrypted = ProviderServer(tls=context)
    port = int(encrypted.url.rpartition(":")[2].partition("/")[0])
    proxy = Proxy(("127.0.0.1", port))
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{proxy.port}")
    try:
        error = _error(_pool("https://models.example/v1"))
        assert error.kind is ErrorKind.UNREACHABLE
        assert "certificate is not trusted" in error.log_detail
        assert "SSL_CERT_FILE" in error.log_detail
        assert proxy.asked == ["models.example:443"]
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        error = _error(_pool("https://models.example/v1"))
        assert "models.example" in error.log_detail, "the name is not its own"
        assert "SSL_CERT_FILE" not in error.log_detail
    finally:
        proxy.stop()
        encrypted.stop()


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1", "nonsense://:0", "http://"])
def test_this_machine_is_never_asked_through_a_proxy(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name in VARIABLES[:3]:
        monkeypatch.setenv(name, value)
    assert _answer(_pool(server.url)) == ANSWER
    assert _answer(_pool(server.url.replace("127.0.0.1", "localhost"))) == ANSWER


@pytest.mark.parametrize(
    "value",
    [
        "ftp://me:sk-secret@127.0.0.1:1",
        "socks4://me:sk-secret@127.0.0.1:1",
        "http://me:sk-secret@127.0.0.1:99999",
        "http://me:sk-secret@[::1",
        "://sk-secret",
        "http://",
        "sk secret",
        "http://sk-secret\x7f",
        "PROXY sk-secret:1",
        f"socks5://me:sk-secret{'0' * 250}@127.0.0.1:1",
    ],
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
def test_a_proxy_that_can_be_none_is_named_and_stops_nobody_else(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch, value: str, variable: str
) -> None:
    monkeypatch.setenv(variable, value)
    pool = _pool(server.url, OUTSIDE)
    pool.warm()
    error = _error(pool, "m1")
    assert error.kind is ErrorKind.MISCONFIGURED
    assert variable in error.log_detail
    assert "secret" not in str(error) + error.log_detail + error.provider_message
    assert _answer(pool) == ANSWER


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_certificates_that_are_none_are_named_and_stop_nobody_else(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: str | None
) -> None:
    if content:
        (tmp_path / "certificates").write_text(content)
    monkeypatch.setenv(variable, str(tmp_path / "certificates"))
    pool = _pool(server.url, "https://models.example/v1")
    pool.warm()
    error = _error(pool, "m1")
    assert error.kind is ErrorKind.MISCONFIGURED
    assert variable in error.log_detail
    assert _answer(pool) == ANSWER


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("url", [OUTSIDE, "https://models.example/v1"])
def test_a_proxy_that_refuses_is_told_without_its_words(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch, scheme: str, url: str
) -> None:
    refusing = Proxy(("127.0.0.1", 1), refuse=True)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{refusing.port}")
    try:
        error = _error(_pool(url))
        assert error.kind in (ErrorKind.UNREACHABLE, ErrorKind.MISCONFIGURED)
        assert "secret" not in str(error) + error.log_detail + error.provider_message
    finally:
        refusing.stop()


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("words", [b"", b"sk-secret\r\n\r\n", None], ids=["nothing", "nonsense", "the end"])
def test_a_proxy_that_is_none_is_not_given_a_models_time(
    monkeypatch: pytest.MonkeyPatch, scheme: str, words: bytes | None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                if words is not None:
                    connection.sendall(words)
                    while connection.recv(65536):
                        pass

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{server.getsockname()[1]}")
        begun = time.monotonic()
        error = _error(_pool("https://models.example/v1"))
        assert time.monotonic() - begun < 3
    assert error.kind is ErrorKind.UNREACHABLE
    assert "secret" not in str(error) + error.log_detail + error.provider_message


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("url", [OUTSIDE, "https://models.example/v1"])
@pytest.mark.parametrize(
    ("host", "why"), [("127.0.0.1", "nothing listens there"), ("proxy.invalid", "its name is not known")]
)
def test_a_proxy_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, scheme: str, url: str, host: str, why: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://{host}:1")
    error = _error(_pool(url))
    assert error.kind is ErrorKind.UNREACHABLE
    assert error.log_detail == f"ConnectError: the proxy of ALL_PROXY: {why}"


@pytest.mark.parametrize("value", ["none", "DIRECT", "direct://", "off", '""'])
def test_who_wants_no_proxy_is_told_how_to_say_so(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    error = _error(_pool(OUTSIDE))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert error.log_detail.startswith("ALL_PROXY names no proxy: for none it is to be empty")


@contextmanager
def _says(words: bytes) -> Iterator[int]:
    """A port that answers each connection with these words, and no more."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(2)
            with suppress(OSError):
                self.request.recv(65536)
                self.request.sendall(words)
                self.request.shutdown(socket.SHUT_WR)
                self.request.recv(65536)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("url", [OUTSIDE, "https://models.example/v1"])
@pytest.mark.parametrize("words", [b"\x05\xff", b""])
def test_a_socks_proxy_that_is_called_http_is_told(monkeypatch: pytest.MonkeyPatch, url: str, words: bytes) -> None:
    with _says(words) as port:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
        error = _error(_pool(url))
    assert error.log_detail.endswith("; is the proxy of ALL_PROXY a SOCKS one (socks5h://)?")
    assert error.kind is (ErrorKind.UNREACHABLE if words or url != OUTSIDE else ErrorKind.BROKEN_STREAM)


def test_an_http_proxy_that_is_called_socks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with _says(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{port}")
        error = _error(_pool(OUTSIDE))
    assert error.kind is ErrorKind.UNREACHABLE
    assert error.log_detail.endswith("; is the proxy of ALL_PROXY an HTTP one (http://)?")


def test_encryption_where_there_is_none_and_none_where_there_is(server: ProviderServer) -> None:
    error = _error(_pool(server.url.replace("http:", "https:")))
    assert (error.kind, error.log_detail) == (
        ErrorKind.UNREACHABLE,
        "ConnectError: there is no TLS there; is it http://?",
    )
    with _says(b"\x15\x03\x01\x00\x02\x02\x0a") as port:
        error = _error(_pool(f"http://127.0.0.1:{port}"))
    assert (error.kind, error.log_detail) == (
        ErrorKind.BROKEN_STREAM,
        "RemoteProtocolError: what came is no HTTP; is it https://?",
    )
    with _says(b"") as port:
        assert _error(_pool(f"http://127.0.0.1:{port}")).log_detail.endswith("before any answer; is it https://?")


@pytest.mark.parametrize("error", [OverflowError("timeout"), TypeError("a date"), ValueError("x")])
def test_a_request_that_cannot_be_made_is_no_servers_fault(error: Exception) -> None:
    result = connection_error(error, RequestProgress(OUTSIDE, None))
    assert result.kind is ErrorKind.MISCONFIGURED
    assert "no request can be made" in result.log_detail


@pytest.mark.parametrize(
    ("no_proxy", "url", "excepted"),
    [
        ("*", "http://a.example", True),
        ("other, *", "http://a.example", True),
        ("example", "http://a.example", True),
        (".example", "http://a.example", True),
        (".a.example", "http://a.example", True),
        ("*.example", "http://a.example", True),
        ("a.example", "http://A.Example.", True),
        ("A.EXAMPLE", "http://a.example", True),
        ("b.example a.example", "http://a.example", True),
        ("b.example;a.example", "http://a.example", True),
        ("le", "http://a.example", False),
        ("xa.example", "http://a.example", False),
        ("a.example:8000", "http://a.example:8000", True),
        ("a.example:8000", "http://a.example", False),
        ("a.example:443", "https://a.example", True),
        ("http://a.example", "http://a.example", True),
        ("10.1.2.3", "http://10.1.2.3:80", True),
        ("10.1.2.3:81", "http://10.1.2.3:81", True),
        ("10.1.2.3:81", "http://10.1.2.3:80", False),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.0.0.0/8", "http://a.example", False),
        ("10.0.0.5/8", "http://10.1.2.3", True),
        ("fd00::/8", "http://[fd00::1]:8000", True),
        ("fd00::1", "http://[fd00::1]:8000", True),
        ("[fd00::1]:8000", "http://[fd00::1]:8000", True),
        ("[fd00::1]:8001", "http://[fd00::1]:8000", False),
        (",, ,", "http://a.example", False),
        ("10.0.0.0/99,%,[,:", "http://10.1.2.3", False),
        ("", "http://a.example", False),
        ("", "http://127.9.9.9", True),
        ("", "http://[::1]:80", True),
        ("", "http://[::ffff:127.0.0.1]", True),
        ("", "http://LOCALHOST:1", True),
        ("", "http://models.localhost", True),
        ("", "http://localhost.example", False),
    ],
)
def test_who_is_asked_without_a_proxy(no_proxy: str, url: str, excepted: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        found = proxy_for(url, {"ALL_PROXY": "http://p:1", name: no_proxy})
        assert (found is None) == excepted


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://a", None),
        ({"HTTP_PROXY": "http://p:1"}, "https://a", None),
        ({"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"}, "https://a", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"}, "http://a", "http://q:1"),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:1"}, "https://a", "http://q:1"),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": ""}, "https://a", None),
        ({"HTTPS_PROXY": " "}, "https://a", None),
        ({"HTTPS_PROXY": "p:1"}, "https://a", "http://p:1"),
        ({"HTTPS_PROXY": "socks://p:1"}, "https://a", "socks5h://p:1"),
        ({"NO_PROXY": "a", "no_proxy": "", "ALL_PROXY": "http://p:1"}, "https://a", "http://p:1"),
    ],
)
def test_which_proxy_it_is(environment: dict[str, str], url: str, proxy: str | None) -> None:
    found = proxy_for(url, environment)
    assert (found and found.url) == proxy


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://a/v1", "/chat/completions", "https://a/v1/chat/completions"),
        ("https://a/v1/", "/chat/completions", "https://a/v1/chat/completions"),
        ("https://a", "/chat/completions", "https://a/chat/completions"),
        ("https://a/v1/chat/completions", "/chat/completions", "https://a/v1/chat/completions"),
        ("https://a/chat", "/chat/completions", "https://a/chat/completions"),
        ("https://a", "/v1/messages", "https://a/v1/messages"),
        ("https://a/v1", "/v1/messages", "https://a/v1/messages"),
        ("https://a/anthropic", "/v1/messages", "https://a/anthropic/v1/messages"),
        (
            "https://a/openai/deployments/b?api-version=1",
            "/chat/completions",
            "https://a/openai/deployments/b/chat/completions?api-version=1",
        ),
    ],
)
def test_addresses_are_taken_as_people_write_them(base: str, path: str, url: str) -> None:
    assert endpoint(base, path) == url
