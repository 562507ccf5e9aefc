"""One request to the identity provider: its answer is whole within a deadline, and no longer than a bound.

Redirects are not followed. Proxies and SSL_CERT_FILE are the environment's.
"""

import json
import os
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, InvalidURL
from threading import Lock, Thread
from typing import Any
from urllib.error import URLError
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

FETCH_TIMEOUT = 3.0
"""Seconds from the request until the last byte of its answer."""
MAX_ANSWER = 1024 * 1024
"""Bytes of an answer's body."""


class FetchFailed(Exception):
    """There is no answer that can be used. The message says why, in words that no server wrote; `passing` is whether
    it may pass by itself."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


@dataclass(frozen=True)
class Answer:
    """What the provider answers with."""

    status: int
    body: bytes

    def json_object(self) -> dict[str, Any]:
        """The JSON object of an answer that is 200. Raises FetchFailed for any other."""
        if self.status != 200:
            redirect = ", a redirect, which is not followed" if 300 <= self.status < 400 else ""
            raise FetchFailed(f"answers with {self.status}{redirect}", passing=self.is_of_one_away)
        found = self.document()
        if not isinstance(found, dict):
            raise FetchFailed("answers with something that is no JSON object", passing=False)
        return found

    def document(self) -> Any:
        """The body's JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def is_of_one_away(self) -> bool:
        """Whether it says that the provider can't answer now."""
        return self.status >= 500 or self.status == 429


def fetch(url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
    """POST the body, or GET without one. Raises FetchFailed."""
    said = {
        "Accept": "application/json",
        **(headers or {}),
        "Accept-Encoding": "identity",
        "User-Agent": "Switchboard",
    }
    outcome: Future[Answer] = Future()
    try:
        exchange = _Exchange(Request(url, body, said))  # noqa: S310, whose handlers know HTTP alone
    except ValueError:
        raise FetchFailed("can't be asked, for its address is no URL", passing=False) from None

    def run() -> None:
        try:
            outcome.set_result(exchange.run())
        except BaseException as error:
            outcome.set_exception(error)

    # A thread of its own, since nothing else ends the lookup of a name.
    Thread(target=run, name="issuer", daemon=True).start()
    try:
        return outcome.result(FETCH_TIMEOUT)
    except TimeoutError:
        exchange.stop()
        raise FetchFailed(f"gives no whole answer within {FETCH_TIMEOUT:g} s", passing=True) from None
    except (OSError, ValueError, HTTPException) as error:
        raise _failure(error) from None


class _Exchange:
    """One request and its answer, which another thread can stop."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._lock = Lock()
        self._stopped = False
        self._connection: HTTPConnection | None = None
        self._handle: socket.socket | None = None

    def run(self) -> Answer:
        """Raises FetchFailed, OSError, ValueError or HTTPException."""
        opener = OpenerDirector()
        for handler in (ProxyHandler(), UnknownHandler(), _Handlers(self)):
            opener.add_handler(handler)
        try:
            with opener.open(self._request, timeout=FETCH_TIMEOUT) as response:
                body = response.read(MAX_ANSWER + 1)
                if len(body) > MAX_ANSWER:
                    raise FetchFailed(f"answers with more than {MAX_ANSWER:,} bytes", passing=False)
                return Answer(response.status, body)
        finally:
            with self._lock:
                if self._handle is not None:
                    self._handle.close()
                self._connection = self._handle = None

    def begin(self, connection: HTTPConnection) -> None:
        """The connection is about to be made."""
        self._connection = connection

    def connected(self, connection: HTTPConnection) -> None:
        """The connection has been made, without TLS yet. Raises TimeoutError when it has been stopped meanwhile."""
        with self._lock:
            if self._stopped:
                raise TimeoutError
            # A handle of our own: during its handshake TLS has taken the connection's away.
            self._handle = connection.sock.dup()

    def stop(self) -> None:
        """End whatever is being waited for on the connection."""
        with self._lock:
            self._stopped = True
            held: list[socket.socket | None] = [self._handle]
            if self._connection is not None:
                held.append(self._connection.sock)
            for each in held:
                if each is not None:
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)


class _Watched(HTTPConnection):
    """A connection that its exchange knows of, while a proxy is asked for it, too."""

    exchange: _Exchange

    def connect(self) -> None:
        self.exchange.begin(self)
        super().connect()
        self.exchange.connected(self)


class _WatchedTLS(HTTPSConnection, _Watched):
    """The same over TLS, whose handshake follows the connection below it."""


class _Handlers(HTTPSHandler, HTTPHandler):
    """Both schemes, over connections that the exchange knows of."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._trusted = ssl.create_default_context()
        super().__init__(context=self._trusted)

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(self._watched, _Watched), req)

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(self._watched, _WatchedTLS, context=self._trusted), req)

    def _watched(self, kind: type[_Watched], host: str, **options: Any) -> HTTPConnection:
        connection = kind(host, **options)
        connection.exchange = self._exchange
        return connection


def _failure(error: Exception) -> FetchFailed:
    cause = error.reason if isinstance(error, URLError) else error
    match cause:
        case ssl.SSLCertVerificationError():
            said = f"has a certificate that is not trusted ({cause.verify_message}): SSL_CERT_FILE says whom to trust"
            return FetchFailed(said, passing=False)
        case ssl.SSLError():
            return FetchFailed(f"can't be spoken to over TLS ({cause.reason})", passing=True)
        case socket.gaierror():
            return FetchFailed("can't be reached: its name is not known", passing=True)
        case TimeoutError():
            return FetchFailed(f"gives no whole answer within {FETCH_TIMEOUT:g} s", passing=True)
        case OSError() if cause.errno:
            return FetchFailed(f"can't be reached: {os.strerror(cause.errno)}", passing=True)
        case OSError():
            return FetchFailed("can't be reached by the environment's proxy", passing=True)
        case HTTPException() if not isinstance(cause, InvalidURL):
            return FetchFailed(f"answers with something that is no HTTP ({type(cause).__name__})", passing=True)
    return FetchFailed("can't be asked: its address is none, or that of the environment's proxy", passing=False)
