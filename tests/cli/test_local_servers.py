"""What is told of this machine's own servers, whatever listens on their ports."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from cli import local_servers
from cli.local_servers import problem_at
from tests.support.web_process import free_port

Speaks = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def found(speaks: Speaks) -> str:
    """What is told of a server that does so, without its address."""

    async def look() -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                await reader.readuntil(b"\r\n\r\n")
                await speaks(reader, writer)
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/readyz"
            return (await problem_at(url) or "well").replace(url, "it")

    return asyncio.run(look())


def sends(answer: bytes) -> Speaks:
    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return send


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nok", "well"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "well"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "well"),
        (b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"detail": "Missing: redis."}', "it answers 503: Missing: redis."),
        (b"HTTP/1.1 404 Not Found\r\n\r\n<html>no</html>", "it answers 404"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "it answers 302"),
        (b"HTTP/1.1 500 Oh\r\n\r\n" + b"[" * 60_000, "it answers 500"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000_000, "well"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1000 + b"\r\n", "no answer from it (got more than 100 headers)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer from it (SSH-2.0-OpenSSH_9.2\r\n)"),
        (b"", "no answer from it (Remote end closed connection without response)"),
    ],
)
def test_what_answers_is_told_in_a_few_words(answer: bytes, told: str) -> None:
    assert found(sends(answer)) == told


def test_a_server_that_never_ends_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_servers, "TIMEOUT", 0.3)

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    assert found(drip) == "no answer from it within 0 s"


def test_a_closed_port_is_told() -> None:
    url = f"http://127.0.0.1:{free_port()}/readyz"

    told = asyncio.run(problem_at(url))

    assert told is not None
    assert told.startswith(f"no answer from {url} (")
