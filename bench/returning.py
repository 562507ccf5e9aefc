"""Many readers in one process that lose their streams and all come back at once, with the last id they were told."""

import re
import select
import socket
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

EVENT_ID = re.compile(rb"\nid: ?([0-9a-f]+-(\d+))\n")
AT_FIRST = 50
"""Streams that are being opened at the same time, before the loss."""
LIMIT = 120.0
"""Seconds in which all must be where they are wanted."""


@dataclass
class Return:
    """How the readers came back."""

    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    """From the moment at which all set out until each had the last event, for those that got it."""
    lost: int = 0
    """Events that a reader was never told."""
    doubled: int = 0
    """Events that a reader was told twice, or out of order."""
    refused: list[bytes] = field(default_factory=list)


@dataclass
class Reader:
    """What one reader has been told."""

    request: bytes
    at: int = 0
    """The offset of the newest event."""
    cursor: bytes = b""
    rest: bytes | None = None
    """What has come and ends no event; None before anything has come."""
    doubled: int = 0
    """Events that came twice, or out of order."""
    skipped: int = 0
    """Events that did not come although later ones did."""

    def take(self, block: bytes) -> None:
        """Note the events of what has come."""
        block = (self.rest or b"") + block
        end = block.rfind(b"\n\n") + 1
        for found in EVENT_ID.finditer(block, 0, end):
            self.cursor, offset = found[1], int(found[2])
            self.doubled += offset <= self.at
            self.skipped += max(0, offset - self.at - 1)
            self.at = max(self.at, offset)
        self.rest = block[end:]

    @property
    def greeting(self) -> bytes:
        """The request: for what comes after the newest event."""
        if not self.cursor:
            return self.request
        return self.request.removesuffix(b"\r\n") + b"Last-Event-ID: " + self.cursor + b"\r\n\r\n"


class _Crowd:
    """The readers' streams, over one epoll."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self._port = port
        self.readers = [Reader(request) for request in requests]
        self._epoll = select.epoll()
        self._streams: dict[int, tuple[socket.socket, Reader]] = {}

    def join(self, wanted: int, at_once: int) -> Return:
        """Open all streams, and read until all have come to the offset `wanted`."""
        outcome = Return()
        begun = time.monotonic()
        to_open, behind = list(reversed(self.readers)), len(self.readers)
        while behind and time.monotonic() - begun < LIMIT:
            while to_open and len(self._streams) - (len(self.readers) - behind) < at_once:
                self._open(to_open.pop())
            for number, happened in self._epoll.poll(1.0):
                stream, reader = self._streams[number]
                if happened == select.EPOLLOUT:
                    stream.send(reader.greeting)
                    self._epoll.modify(number, select.EPOLLIN)
                    continue
                block, before = _read(stream), reader.at
                if reader.rest is None and not block.startswith(b"HTTP/1.1 200"):
                    outcome.refused.append(block[:200])
                reader.take(block)
                if not block:
                    self._close(number)
                if before < wanted <= reader.at:
                    outcome.seconds.append(time.monotonic() - begun)
                    behind -= 1
        outcome.lost = sum(wanted - reader.at + reader.skipped for reader in self.readers)
        outcome.doubled = sum(reader.doubled for reader in self.readers)
        return outcome

    def cut(self) -> None:
        """Lose all streams."""
        for number in list(self._streams):
            self._close(number)

    def _open(self, reader: Reader) -> None:
        reader.rest = None
        stream = socket.socket()
        stream.setblocking(False)
        stream.connect_ex(("127.0.0.1", self._port))
        self._streams[stream.fileno()] = stream, reader
        self._epoll.register(stream.fileno(), select.EPOLLOUT)

    def _close(self, number: int) -> None:
        self._epoll.unregister(number)
        self._streams.pop(number)[0].close()


def _read(stream: socket.socket) -> bytes:
    try:
        return stream.recv(65536)
    except OSError:
        return b""


def run(control: Connection, port: int, requests: Sequence[bytes], first: int, last: int) -> None:
    """The process. Opens the streams up to the offset `first`; then, each time when told, cuts them, and has them
    come back up to the offset `last`."""
    crowd = _Crowd(port, requests)
    control.send(crowd.join(first, AT_FIRST))
    control.recv()
    crowd.cut()
    control.send(None)
    control.recv()
    control.send(crowd.join(last, len(requests)))
    control.recv()
