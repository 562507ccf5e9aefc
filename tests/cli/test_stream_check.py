"""`switchboard doctor --stream` against servers with one manner each."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from werkzeug.serving import make_server

from cli.main import main
from cli.stream_check import Arrival, count_batched
from core.runtime import Runtime
from tests.support.web_process import free_port
from web.app import create_app

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@contextmanager
def serving(application: Application) -> Iterator[str]:
    """The URL of a server for the application."""
    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def application(runtime: Runtime) -> Flask:
    """The real one."""
    return create_app(runtime)


def gathering(application: Application) -> Application:
    """A proxy that passes an answer on when it is whole."""
    return lambda environ, start: [b"".join(application(environ, start))]


def pairing(application: Application) -> Application:
    """A proxy with a buffer that holds two events."""

    def proxy(environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        held = b""
        for block in application(environ, start):
            held += block
            if held.count(b"\n\n") >= 2:
                yield held
                held = b""
        yield held

    return proxy


def cutting(application: Application) -> Application:
    """A proxy that loses patience."""

    def proxy(environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        blocks = iter(application(environ, start))
        yield next(blocks)
        yield next(blocks)

    return proxy


def doctor(url: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["doctor", "--stream", url])


def test_a_server_without_proxies_passes(application: Flask) -> None:
    with serving(application) as url:
        result = doctor(url)
    assert result.exit_code == 0, result.output
    assert "5 events arrived one by one" in result.output


@pytest.mark.parametrize(("proxy", "count"), [(gathering, 4), (pairing, 2)])
def test_a_proxy_that_gathers_is_found(application: Flask, proxy: Any, count: int) -> None:
    with serving(proxy(application)) as url:
        result = doctor(f"{url}/")
    assert result.exit_code == 1
    assert f"{count} of 5 events came together with the one before" in result.output
    assert "proxy_buffering off" in result.output


def test_a_proxy_that_cuts_is_told(application: Flask) -> None:
    with serving(cutting(application)) as url:
        result = doctor(url)
    assert result.exit_code == 1
    assert "was cut after 1 events" in result.output


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
def test_a_proxy_in_the_environment_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "nonsense://me:sk-secret@127.0.0.1")
    result = CliRunner().invoke(main, ["doctor", "--stream", "http://switchboard.example"])
    assert result.exit_code == 1
    assert f"{variable} holds no address of a proxy" in result.output
    assert "secret" not in result.output


def test_what_is_no_switchboard_is_told() -> None:
    with serving(Flask("another")) as url:
        assert "/chat/sse/probe answers 404" in doctor(url).output
    page = Flask("page")
    page.add_url_rule("/chat/sse/probe", view_func=lambda: "Welcome")
    with serving(page) as url:
        assert "is not a stream of events" in doctor(url).output
    for nowhere in (f"http://127.0.0.1:{free_port()}", "ftp://example.org", "http://[", "example"):
        result = doctor(nowhere)
        assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
        assert result.output.startswith("switchboard: ")
        assert "base_url" not in result.output
    assert "--stream example: no address of a server; write http:// or https:// before its name" in result.output


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([0.2, 0.4, 0.6, 0.8, 1.0], 0),
        ([1.0, 1.0, 1.0, 1.0, 1.0], 4),
        ([0.2, 0.55, 0.6, 0.8, 1.0], 1),  # one was late, the next was not
        ([0.9, 1.1, 1.3, 1.5, 1.7], 0),  # far away
        ([0.2], 0),
    ],
)
def test_what_counts_as_together(moments: list[float], expected: int) -> None:
    assert count_batched([Arrival(at, pause=0.2) for at in moments]) == expected
