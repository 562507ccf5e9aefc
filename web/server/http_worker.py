"""gunicorn's gevent worker with deadlines for connections (web/server/connections.py) and problem documents for what
never reaches the application."""

import contextlib
import io
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Any

import gevent
from gevent.server import StreamServer
from gunicorn.http import errors
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.workers.ggevent import GeventWorker
from werkzeug.exceptions import BadRequest, HTTPException, RequestTimeout

from web.middleware.security_headers import SECURITY_HEADERS
from web.schemas.requests import SMALL_BODY
from web.server.chunks import read_chunked
from web.server.connections import PEER_SHARE, Connection, Connections, TooSlow
from web.server.head import MAX_HEAD

MAX_DRAINED = 64 * 1024
"""Bytes of a body that are still read when the application has not, to keep the connection for the next request."""
ACCEPTED_AT_ONCE = 200
"""Connections that may have been accepted and not yet been looked at, per listener."""
ACCEPTED_IN_A_TURN = 10
"""Connections that are accepted in one turn of the event loop, per listener. With gevent's 100, events would wait for
as many requests to be read whenever many clients come at once."""
STATUSES: Mapping[type[Exception], HTTPStatus] = {
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}
"""Every other error in reading a request is a 400."""
SERVER_ERRORS = (errors.ConfigurationProblem, errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
"""Errors of ours that gunicorn counts among those of requests."""


class HTTPWorker(GeventWorker):
    """One process that holds many connections.

    The arbiter imports this module, and with it nothing of the application: that is loaded in the worker, and so is
    in memory once, whereas both would write to most of what they shared.
    """

    def run(self) -> None:
        """Serve, until the process is told to stop."""
        most = max(1, self.worker_connections - ACCEPTED_AT_ONCE * len(self.sockets))
        from web.context import context_of

        behind_proxies = context_of(self.wsgi).options.trusted_proxies > 0
        StreamServer.max_accept = min(StreamServer.max_accept, ACCEPTED_IN_A_TURN)
        self._connections = Connections(most, per_peer=None if behind_proxies else max(1, int(most * PEER_SHARE)))
        super().run()

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """Nothing: the connection has deadlines of its own."""
        return nullcontext()

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve one connection until its end."""
        with self._connections.open(client, addr[0] if addr else "") as connection:
            super().handle(listener, connection, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> bool:
        """Serve one request. Raises StopIteration when it was the connection's last."""
        if req._expected_100_continue:
            req._expected_100_continue = False
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            sock.end_answer()
        try:
            # The application begins when its request is here: what never comes costs no more than a connection.
            incoming = self._received(req)
        except HTTPException as error:
            sock.has_unread = True
            sock.sendall(problem(HTTPStatus(error.code or 400), error.description or ""))
            raise StopIteration from None
        sock.received()
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            complete = _read_rest(incoming)
            req.body = Body(incoming)  # the parser keeps the request until the next one: not its words
            sock.has_unread = not complete
        if not complete:
            raise StopIteration
        if not sock.next_request(req.unreader.take_buffered()):
            raise StopIteration
        gevent.sleep(0)  # others' turn
        return True

    def _received(self, req: Any) -> "_Incoming":
        """Read the body, and give it to the request; what is left of it. One that says it is longer than any for its
        path may be is left to the application to refuse.

        Raises HTTPException when it never comes, is broken, or turns out to be too long.
        """
        reader = req.body.reader
        if isinstance(reader, ChunkedReader):
            return _chunks_received(req, self._limit(req))
        incoming = _Incoming(reader)
        announced = incoming.length
        if announced > SMALL_BODY and announced > self._limit(req):
            req.body = Body(incoming)
            if announced > MAX_DRAINED:
                req.force_close()  # the answer says so: it is not read to its end
        else:
            req.body = Body(io.BytesIO(incoming.read(announced)))
        return incoming

    def _limit(self, req: Any) -> int:
        """The most bytes that the body of a request to its path may have."""
        from web.middleware.body_limits import limit_of

        return limit_of(self.wsgi, req.method, req.path)

    def handle_error(self, req: Any, client: Connection, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be read, or whose answer could not be made. Addresses are not logged."""
        if isinstance(exc, gevent.GreenletExit):
            return  # the process ends while the connection waits for a request: there is nothing to answer
        status = _status(exc)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            # Without the query, which may hold words.
            self.log.exception("unexpected %s at %s", type(exc).__name__, getattr(req, "path", "the request's head"))
        client.has_unread = True
        with contextlib.suppress(OSError):
            client.sendall(problem(status, _detail(exc, status)))


class _Incoming:
    """A body of known length as it arrives, for gunicorn's Body: every way in which it can be broken is the client's
    error, and told as such by the application."""

    def __init__(self, reader: LengthReader) -> None:
        self._reader = reader
        self.failed = False

    @property
    def length(self) -> int:
        """How many bytes are still to come."""
        return int(self._reader.length)

    def read(self, size: int) -> bytes:
        """The next bytes, b"" at the end. Raises BadRequest or RequestTimeout."""
        announced = min(size, self.length)
        self.failed = True
        with _told_as_clients_error():
            data: bytes = self._reader.read(size)
        if len(data) < announced:
            raise BadRequest("The body is shorter than Content-Length says.")
        self.failed = False
        return data


@contextlib.contextmanager
def _told_as_clients_error() -> Iterator[None]:
    try:
        yield
    except TooSlow as error:
        raise RequestTimeout(str(error)) from None
    except (errors.ParseException, OSError, ValueError):
        raise BadRequest("The body is not framed as HTTP has it, or ended before its end.") from None


def _chunks_received(req: Any, limit: int) -> _Incoming:
    with _told_as_clients_error():
        content, rest = read_chunked(req.unreader.read, limit)
    req.unreader.unread(rest)
    # From here on it has a length like any other: werkzeug would take the beginning of a long one for the whole.
    req.headers = [field for field in req.headers if field[0] != "TRANSFER-ENCODING"]
    req.headers.append(("CONTENT-LENGTH", str(len(content))))
    req.body = Body(io.BytesIO(content))
    return _Incoming(LengthReader(req.unreader, 0))


def _read_rest(incoming: _Incoming) -> bool:
    """Read what the application has not read of a body; whether all of it has come, so that the next request's
    beginning is known."""
    left = MAX_DRAINED
    while not incoming.failed and incoming.length != 0 and left > 0:
        try:
            left -= len(incoming.read(min(left, 16 * 1024)))
        except HTTPException:
            break
    return not incoming.failed and incoming.length == 0


def _status(error: BaseException) -> HTTPStatus:
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return status
    if isinstance(error, errors.ParseException) and not isinstance(error, SERVER_ERRORS):
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.INTERNAL_SERVER_ERROR


def _detail(error: BaseException, status: HTTPStatus) -> str:
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return "The server met an unexpected condition."
    if status is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return f"A header field is too long, there are too many, or the whole head exceeds {MAX_HEAD // 1024} KiB."
    return str(error) if isinstance(error, TooSlow) else status.description or f"{status.phrase}."


def problem(status: HTTPStatus, detail: str) -> bytes:
    """A whole answer: an RFC 9457 problem document, after which the connection ends."""
    slug = status.phrase.lower().replace(" ", "-")
    body = json.dumps(
        {"type": f"/problems/{slug}", "title": status.phrase, "status": int(status), "detail": detail}
    ).encode()
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **SECURITY_HEADERS,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {int(status)} {status.phrase}\r\n{head}\r\n".encode("ascii") + body
