"""A process that holds as many connections as it can, and does on each what its attack says."""

import random
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from core.operations.file_descriptors import raise_limit

TICK = 0.02
"""Seconds between two looks at what has become of the connections."""
TRICKLE = 0.001
"""Seconds between two looks while single bytes follow."""


class Stranger:
    """The connections. Each sends one of the requests, and single bytes afterwards if it is to trickle, and reads
    nothing; one that is closed is replaced."""

    def __init__(self, port: int, requests: Sequence[bytes], wanted: int, pace: float, trickles: bool) -> None:
        self._port = port
        self._requests = requests
        self._wanted = wanted
        self._pace = pace
        self._trickles = trickles
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self.made = 0

    def work(self, control: Connection) -> None:
        """Attack until told to stop."""
        raise_limit()
        began = time.monotonic()
        while not control.poll():
            allowed = int((time.monotonic() - began) * self._pace) - self.made
            for _ in range(min(allowed, self._wanted - len(self._open))):
                self._connect()
            self._drop_closed()
            if self._trickles:
                self._trickle()
        control.send((self.made, len(self._open)))

    def _connect(self) -> None:
        self.made += 1
        stream = socket.socket()
        stream.setblocking(False)
        if self._trickles:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            stream.connect_ex(("127.0.0.1", self._port))
        self._open[stream.fileno()] = stream
        self._poll.register(stream.fileno(), select.EPOLLOUT | select.EPOLLRDHUP)

    def _drop_closed(self) -> None:
        for number, event in self._poll.poll(TRICKLE if self._trickles else TICK):
            if event & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
                self._close(number)
                continue
            # Connected: what the kernel takes of the request at once is enough to be a nuisance.
            with suppress(OSError):
                self._open[number].send(random.choice(self._requests))
            self._poll.modify(number, select.EPOLLRDHUP)

    def _trickle(self) -> None:
        for stream in self._open.values():
            with suppress(OSError):
                stream.send(b"x")

    def _close(self, number: int) -> None:
        self._poll.unregister(number)
        self._open.pop(number).close()


def run(control: Connection, port: int, requests: Sequence[bytes], wanted: int, pace: float, trickles: bool) -> None:
    """The process."""
    stranger = Stranger(port, requests, wanted, pace, trickles)
    control.send("ready")
    control.recv()
    stranger.work(control)
