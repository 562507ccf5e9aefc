"""Asking the identity provider over HTTP, with a deadline and a bound for the whole of its answer.

urllib's timeout is one for each wait, so that an answer of which a byte comes now and then would never end. Proxies
of the environment are used as urllib does, and redirects are not followed.
"""

import io
import json
import socket
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

from jwt.exceptions import PyJWTError

from core.text.characters import one_line

FETCH_TIMEOUT = 3.0
"""Seconds for the whole of an answer, once there is a connection, and for the connection."""
MAX_ANSWER = 1024 * 1024
"""Bytes of an answer's body."""


class IssuerError(PyJWTError):
    """The identity provider can't be used. The message says why in one line, for the operator's log."""


class Answer(NamedTuple):
    """What came, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """GET the URL, or POST the body to it. Raises IssuerError when no answer comes in time, or a longer one."""
    shown = url.partition("?")[0]
    try:
        with _opener().open(Request(url, body, dict(headers or {})), timeout=FETCH_TIMEOUT) as response:  # noqa: S310
            read = response.read(MAX_ANSWER + 1)
            answer = Answer(response.status, dict(response.headers.items()), read)
    except (OSError, HTTPException, ValueError) as error:  # a proxy's address, too, and whatever answers there
        cause = error.reason if isinstance(error, URLError) else error
        late = isinstance(cause, TimeoutError)
        reason = f"no answer within {FETCH_TIMEOUT:g} s" if late else f"{type(cause).__name__}: {cause}"
        raise IssuerError(one_line(f"{shown}: {reason}")) from error
    if len(answer.body) > MAX_ANSWER:
        raise IssuerError(f"{shown}: its answer is longer than {MAX_ANSWER:,} bytes")
    return answer


def fetch_json(url: str) -> dict[str, Any]:
    """The JSON object at the URL. Raises IssuerError."""
    answer = ask(url)
    if answer.status != 200:
        raise IssuerError(f"{url} answers {answer.status}")
    try:
        fetched = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise IssuerError(f"{url} answers with something that is no JSON") from error
    if not isinstance(fetched, dict):
        raise IssuerError(f"{url} answers with something that is no JSON object")
    return fetched


class _Reader(io.RawIOBase):
    """A socket's bytes until a moment."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)  # the connection lets go of the socket before all is read
        self._until = until

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read some. Raises TimeoutError after the moment."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._file.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, time.monotonic() + FETCH_TIMEOUT))


class _HttpConnection(HTTPConnection):
    response_class = _Response


class _HttpsConnection(HTTPSConnection):
    response_class = _Response


class _Http(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        """Open it."""
        return self.do_open(_HttpConnection, req)


class _Https(HTTPSHandler):
    def https_open(self, req: Request) -> HTTPResponse:
        """Open it."""
        return self.do_open(_HttpsConnection, req)


def _opener() -> OpenerDirector:
    """For HTTP alone, and whatever the status: a redirect is an answer."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), _Http(), _Https(), UnknownHandler()):
        opener.add_handler(handler)
    return opener
