"""The connections of one web process: a deadline for each read and write, and room when there are too many.

A connection *waits* from its beginning, or the end of its last answer, until its next request has been read. A
process can hold many that wait but not any number: beyond its bounds the one that has waited longest is cut, which
an honest client, whose request takes milliseconds to read, never is.
"""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from threading import Lock
from typing import Any

from gunicorn.http.errors import ParseException

from core.errors import Unavailable
from web.server.head import Head

KEEPALIVE_TIMEOUT = 15.0
"""Seconds that a connection stays open after an answer. Longer than a proxy's own (deploy/nginx.conf: 10 s), or a
request would now and then meet a connection that is just being closed."""
REQUEST_TIMEOUT = 10.0
"""Seconds that a request may take to arrive, head and body together, from its first byte, which a new connection has
just as long to send. A deadline for each read would let a byte every now and then go on for ever."""
SMALL_READ = 1024
"""Bytes: a read that gives less is not worth the turn of the event loop that it takes."""
SMALL_READS = 8
"""Such reads that a request may take before each is followed by a pause, in which more can come."""
PAUSE = 0.01
"""Seconds by which that pause grows with each of them: so a request takes fifty at most, whatever its bytes do."""
AT_A_STRETCH = 64 * 1024
"""Bytes of a request that are read before others have their turn."""
READ_TURN = 0.005
"""Seconds between two requests that were sent before their connection's last answer, all such connections together:
so pipelined ones, which may come by the hundred in one packet, never take all of the process's time."""
WRITE_TIMEOUT = 20.0
"""Seconds that a client may take to accept a piece of an answer, or an event."""
RESPONSE_TIMEOUT = 60.0
"""Seconds that a whole answer may take to be accepted, from its first byte. Streams have no such end."""
MAX_SEND = 64 * 1024
"""Bytes that are written at once: a client has WRITE_TIMEOUT for each."""
LINGER_TIMEOUT = 1.0
"""Seconds for which an answered request is still read before its connection ends."""
LINGER_BYTES = 1024 * 1024
"""Bytes of it, at most."""
LINGER_PAUSE = 0.05
"""Seconds between two reads of it."""
MAX_UNSENT = 64 * 1024 * 1024
"""Bytes of large answers that one process keeps for clients that are slow to accept them."""
MAX_UNREAD = 64 * 1024 * 1024
"""Bytes of requests that one process keeps until the rest of them has arrived."""
STREAM_SHARE = 0.9
"""The part of all connections that may be event streams: the rest is for requests, /healthz among them."""
PEER_SHARE = 0.25
"""The part of all connections that may wait for one address's requests."""
IPV6_PREFIX = 64
"""Bits: what one household or server has of IPv6."""


class TooSlow(ParseException):
    """The request has not arrived in time."""

    def __str__(self) -> str:
        return f"The request did not arrive within {REQUEST_TIMEOUT:g} s."


class Connection:
    """A client's socket. What is not here is the socket's own."""

    __slots__ = (
        "_answer_by",
        "_connections",
        "_head",
        "_idle",
        "_pipelines",
        "_read_by",
        "_small_reads",
        "_socket",
        "_streams",
        "_stretch",
        "_surplus",
        "has_unread",
        "is_cut",
        "peer",
    )

    def __init__(self, connections: "Connections", client: socket.socket, peer: str) -> None:
        self._connections = connections
        self._socket = client
        self.peer = peer
        self.is_cut = False
        self.has_unread = False
        """Whether its last request has been answered without being read to its end."""
        self._head: Head | None = Head()
        """What has come of the next request's head; None while a body is read."""
        self._surplus = b""
        """What has come after what was asked for."""
        self._idle = True
        self._read_by = time.monotonic() + REQUEST_TIMEOUT
        self._small_reads = 0
        self._stretch = 0
        self._pipelines = False
        """Whether more had come before its request was answered."""
        self._answer_by: float | None = None
        self._streams = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        """As socket.recv, but a request's head comes as a whole, whatever the size; b"" also when the connection has
        been cut, or stayed idle. Raises TooSlow, and LimitRequestLine or LimitRequestHeaders for too long a head."""
        if self._head is not None:
            return self._read_head(self._head, size)
        if self._surplus:
            surplus, self._surplus = self._surplus, b""
            return surplus
        return self._read(size)

    def has_more(self) -> bool:
        """Whether the client has sent something that has not been read."""
        return bool(self._peek())

    def has_left(self) -> bool:
        """Whether the client has ended its side."""
        return self._peek() == b""

    def sendall(self, data: bytes) -> None:
        """As socket.sendall. Raises BrokenPipeError when the client is too slow to accept it, or was cut."""
        with self._connections.unsent(self, len(data)):
            for start in range(0, len(data), MAX_SEND):
                self._send(data[start : start + MAX_SEND])

    def received(self) -> None:
        """The request is here: this connection waits no longer."""
        self._connections.stop_waiting(self)

    def stream(self) -> None:
        """The answer is a stream of events, which may last. Raises Unavailable when the process holds too many."""
        if not self._streams:
            self._connections.add_stream()
            self._streams = True
        self.received()

    def next_request(self, surplus: bytes = b"") -> bool:
        """The answer has been sent; another request may come, or has begun with `surplus`. Returns whether it is
        still this connection's turn."""
        self.end_answer()
        self._head = Head()
        self._small_reads = 0
        self._surplus = surplus + self._surplus
        self._idle = not self._surplus
        self._read_by = time.monotonic() + (KEEPALIVE_TIMEOUT if self._idle else REQUEST_TIMEOUT)
        self._connections.start_waiting(self)
        self._connections.add_unread(self, len(self._surplus))
        pipelines, self._pipelines = self._pipelines or not self._idle, False
        return not pipelines or self._connections.take_turn()

    def end_answer(self) -> None:
        """There is nothing more to send."""
        self._answer_by = None
        if self._streams:
            self._streams = False
            self._connections.remove_stream()

    def cut(self) -> None:
        """End it now, whatever it is doing."""
        self.is_cut = True
        with suppress(OSError):  # it may have ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """As socket.close. What has not been read would make the kernel take back the answer, so that is read first,
        within bounds."""
        if self.has_unread and not self.is_cut:
            self._linger()
        self._socket.close()

    def _linger(self) -> None:
        deadline, left = time.monotonic() + LINGER_TIMEOUT, LINGER_BYTES
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while left > 0 and (allowed := deadline - time.monotonic()) > 0:
                self._socket.settimeout(allowed)
                data = self._socket.recv(MAX_SEND)
                if not data:
                    return
                left -= len(data)
                time.sleep(LINGER_PAUSE)

    def _read_head(self, head: Head, size: int) -> bytes:
        while piece := self._surplus or self._read(size):
            self._surplus = b""
            whole = head.add(piece)
            if whole is not None:
                self._head = None
                text, self._surplus = whole
                return text
        return b""

    def _read(self, size: int) -> bytes:
        self._give_others_a_turn()
        allowed = self._read_by - time.monotonic()
        try:
            if allowed <= 0 and not self._idle:
                raise TimeoutError  # also when there is something to read: there may be for ever
            self._socket.settimeout(max(0.001, allowed))
            data = self._socket.recv(size)
        except TimeoutError:
            if self._idle:
                return b""
            raise TooSlow from None
        except OSError:
            if self.is_cut:
                return b""
            raise
        if self._idle:
            self._idle = False
            self._read_by = time.monotonic() + REQUEST_TIMEOUT
        self._small_reads += len(data) < SMALL_READ
        self._stretch += len(data)
        self._connections.add_unread(self, len(data))
        return data

    def _give_others_a_turn(self) -> None:
        if self._small_reads > SMALL_READS:
            pause = PAUSE * (self._small_reads - SMALL_READS)
            # Not up to the deadline: what has come before it is still to be read.
            time.sleep(max(0.0, min(pause, (self._read_by - time.monotonic()) / 2)))
        elif self._stretch >= AT_A_STRETCH:
            time.sleep(0)
        else:
            return
        self._stretch = 0

    def _peek(self) -> bytes | None:
        """The next byte, b"" at the end, None when nothing has come."""
        timeout = self._socket.gettimeout()
        try:
            self._socket.settimeout(0)
            return self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        finally:
            self._socket.settimeout(timeout)

    def _send(self, piece: bytes) -> None:
        now = time.monotonic()
        if self._answer_by is None:
            self._answer_by = now + RESPONSE_TIMEOUT
            self._pipelines = self.has_more()  # no client can have read what is only now being written
        allowed = WRITE_TIMEOUT if self._streams else min(WRITE_TIMEOUT, max(0.001, self._answer_by - now))
        try:
            self._socket.settimeout(allowed)
            self._socket.sendall(piece)
        except TimeoutError:
            raise BrokenPipeError(errno.EPIPE, "the client does not read") from None
        except OSError as error:
            if self.is_cut:
                raise BrokenPipeError(errno.EPIPE, "made room for others") from error
            raise


class Connections:
    """All of one process's."""

    def __init__(self, most: int, *, per_peer: int | None = None) -> None:
        """`most` at once, and `per_peer` of them waiting for one address's requests (None: any number, for behind
        a proxy all come from one)."""
        self._most = most
        self._per_peer = per_peer or most
        self._open = 0
        self._streams = 0
        # Dictionaries keep their order, so the first is the one that has waited longest.
        self._waiting: dict[Connection, int] = {}
        """How many bytes of its request have come."""
        self._unread = 0
        self._waiting_of: dict[str, dict[Connection, None]] = {}
        self._unsent: dict[Connection, int] = {}
        self._turn = Lock()

    @contextmanager
    def open(self, client: socket.socket, address: str) -> Iterator[Connection]:
        """A new connection, until its end."""
        connection = Connection(self, client, peer(address))
        self._open += 1
        self.start_waiting(connection)
        if self._open > self._most and self._waiting:
            self._cut(next(iter(self._waiting)))
        try:
            yield connection
        finally:
            self._open -= 1
            self.stop_waiting(connection)
            connection.end_answer()

    def start_waiting(self, connection: Connection) -> None:
        """Its next request has not been read."""
        self._waiting[connection] = 0
        of_peer = self._waiting_of.setdefault(connection.peer, {})
        of_peer[connection] = None
        if len(of_peer) > self._per_peer:
            self._cut(next(iter(of_peer)))

    def stop_waiting(self, connection: Connection) -> None:
        """It has been read, or never will be."""
        if connection not in self._waiting:
            return
        self._unread -= self._waiting.pop(connection)
        of_peer = self._waiting_of[connection.peer]
        del of_peer[connection]
        if not of_peer:
            del self._waiting_of[connection.peer]

    def add_unread(self, connection: Connection, size: int) -> None:
        """More of its request has come. Beyond the limit, the one that has waited longest is cut."""
        if connection not in self._waiting:
            return
        self._waiting[connection] += size
        self._unread += size
        while self._unread > MAX_UNREAD and len(self._waiting) > 1:
            self._cut(next(iter(self._waiting)))

    def take_turn(self) -> bool:
        """Wait until a connection that sends requests without waiting for answers may have its next one served.
        Returns whether that came in time."""
        if not self._turn.acquire(timeout=KEEPALIVE_TIMEOUT):
            return False
        try:
            time.sleep(READ_TURN)
        finally:
            self._turn.release()
        return True

    def add_stream(self) -> None:
        """One more streams. Raises Unavailable when the rest is needed for requests."""
        if self._streams >= int(self._most * STREAM_SHARE):
            raise Unavailable("This server has as many open streams as it can hold; try again soon.", retry_after=5)
        self._streams += 1

    def remove_stream(self) -> None:
        """One streams no more."""
        self._streams -= 1

    @contextmanager
    def unsent(self, connection: Connection, size: int) -> Iterator[None]:
        """While so many bytes are kept for a client. Beyond the limit, the one that keeps some longest is cut."""
        if size <= MAX_SEND:
            yield
            return
        self._unsent[connection] = size
        while sum(self._unsent.values()) > MAX_UNSENT and len(self._unsent) > 1:
            slowest = next(iter(self._unsent))
            del self._unsent[slowest]
            slowest.cut()
        try:
            yield
        finally:
            self._unsent.pop(connection, None)

    def _cut(self, connection: Connection) -> None:
        self.stop_waiting(connection)
        connection.cut()


def peer(address: str) -> str:
    """Whose connection it is: an IPv4 address, or the network around one of IPv6."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or ip_network((parsed.packed, IPV6_PREFIX), strict=False))
