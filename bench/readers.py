"""Many readers of event streams in one process: plain sockets, one epoll, no more parsing than measuring needs."""

import re
import select
import socket
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

EVENT = re.compile(rb'"text":"(\d{19})"[^\n]*\nid: ?[0-9a-f]+-(\d+)\n')
"""When an event was appended, in nanoseconds of the machine's monotonic clock, and its offset in its log."""
AT_ONCE = 50
"""Streams that are being opened at the same time."""
OPEN_LIMIT = 180.0
"""Seconds in which all streams must be open."""
END = b"\n\n\r\n"
"""The end of an event and of the HTTP chunk that carries it."""


@dataclass
class Readers:
    """Opens one stream per request and notes how old each event is when it arrives."""

    port: int
    requests: Sequence[bytes]
    greeted: bool
    """Whether the server answers before the first event; the stock blueprint does not."""
    ages: "array[int]" = field(default_factory=lambda: array("Q"))
    """Of each event once: one that is told twice stands for none that is lost."""
    refused: list[bytes] = field(default_factory=list)

    def serve(self, control: Connection) -> None:
        """Open the streams and send what was refused. Then read, and send the latest ages when asked."""
        epoll = select.epoll()
        streams: dict[int, socket.socket] = {}
        self._open_all(epoll, streams)
        control.send(self.refused)
        epoll.register(control.fileno(), select.EPOLLIN)
        rests: dict[int, bytes] = {}
        tops: dict[int, int] = {}
        while True:
            for number, _ in epoll.poll():
                if number == control.fileno():
                    control.recv()
                    control.send(self.ages.tobytes())
                    self.ages = array("Q")
                    continue
                block = rests.pop(number, b"") + self._read(streams[number])
                now = time.monotonic_ns()
                if not block:
                    epoll.unregister(number)  # what it misses is missing in the count
                elif block.endswith(END):
                    tops[number] = self.note(block, now, tops.get(number, 0))
                else:
                    rests[number] = block

    def note(self, block: bytes, now: int, top: int) -> int:
        """Note the ages of a stream's new events, which is at the offset `top`; where it is then. What the appender
        begins a log with has a stamp that is no moment."""
        for stamp, offset in ((int(stamp), int(offset)) for stamp, offset in EVENT.findall(block)):
            if offset > top and stamp <= now:
                self.ages.append(now - stamp)
            top = max(top, offset)
        return top

    def _open_all(self, epoll: select.epoll, streams: dict[int, socket.socket]) -> None:
        deadline = time.monotonic() + OPEN_LIMIT
        waiting: set[int] = set()
        for request in self.requests:
            while len(waiting) >= AT_ONCE:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"only {len(streams)} streams are open after {OPEN_LIMIT} s")
                self._await(epoll, streams, waiting)
            stream = socket.create_connection(("127.0.0.1", self.port), 10)
            stream.sendall(request)
            streams[stream.fileno()] = stream
            epoll.register(stream.fileno(), select.EPOLLIN)
            if self.greeted:
                waiting.add(stream.fileno())
            else:
                time.sleep(0.002)  # the server shows no sign by which to pace this
        while waiting and time.monotonic() < deadline:
            self._await(epoll, streams, waiting)

    def _await(self, epoll: select.epoll, streams: dict[int, socket.socket], waiting: set[int]) -> None:
        for number, _ in epoll.poll(1.0):
            block = self._read(streams[number])
            if number in waiting:
                waiting.discard(number)
                if not block.startswith(b"HTTP/1.1 200"):
                    self.refused.append(block[:200])
            if not block:
                self.refused.append(b"closed while opening")
                epoll.unregister(number)

    @staticmethod
    def _read(stream: socket.socket) -> bytes:
        try:
            return stream.recv(65536)
        except OSError:
            return b""


def run(control: Connection, port: int, requests: Sequence[bytes], greeted: bool) -> None:
    """The process."""
    Readers(port, requests, greeted).serve(control)
