"""Whether this machine's own servers answer.

With the standard library alone: `up` stays in memory for as long as the system runs, and a client of all that HTTP
can be, TLS and proxies too, would be a fourth of what it takes.
"""

import asyncio
import io
import json
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from socket import socket
from typing import Any, cast
from urllib.parse import urlsplit

TIMEOUT = 2.0
"""Seconds for an answer, from connecting to its end."""
MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are looked at."""


async def problem_at(url: str) -> str | None:
    """Why GET `url`, at plain HTTP, is not answered with 200, in a few words, or None when it is."""
    try:
        async with asyncio.timeout(TIMEOUT):
            answer = _parsed(await _answer(url))
            body = answer.read()
    except TimeoutError:
        return f"no answer from {url} within {TIMEOUT:.0f} s"
    except (OSError, HTTPException) as error:
        return f"no answer from {url} ({error or type(error).__name__})"
    if answer.status == HTTPStatus.OK:
        return None
    return f"{url} answers {answer.status}{_detail(body)}"


async def _answer(url: str) -> bytes:
    """The bytes of it. Asked with HTTP/1.0, so that the server ends the connection with it."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(f"GET {address.path or '/'} HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n".encode())
        received = b""
        while len(received) < MAX_ANSWER and (block := await reader.read(MAX_ANSWER)):
            received += block
        return received
    finally:
        writer.close()


class _Received(io.BytesIO):
    """What has been received, where the standard library expects a socket."""

    def makefile(self, *_: Any) -> io.BytesIO:
        return self


def _parsed(received: bytes) -> HTTPResponse:
    answer = HTTPResponse(cast(socket, _Received(received)), method="GET")
    answer.begin()
    return answer


def _detail(body: bytes) -> str:
    """What a problem says (RFC 9457)."""
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return f": {detail}" if detail else ""
