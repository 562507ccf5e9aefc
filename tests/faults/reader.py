"""A client that reads one session's events over connections that end anywhere, and remembers what it was told."""

import http.client
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from core.conversation.position import Position
from tests.web.sse import events

BLOCK = 4096
"""Bytes taken at once; also the size of the receive buffer, so that a reader that stops is soon felt."""
SILENCE = 20.0
"""Seconds after which a client gives a connection up. The server speaks every 15 s."""


class Told(NamedTuple):
    """One event of the log, or with `reset` the news that the client's place in it is lost."""

    position: Position | None
    type: str
    data: dict[str, Any]

    @property
    def reset(self) -> bool:
        """Whether it is that news."""
        return self.type == "reset"


class Reader(threading.Thread):
    """Reads until it is closed, and comes back whenever the stream ends, as a browser does."""

    def __init__(
        self, port: int, headers: Mapping[str, str], start: Position, *, longest: int | None, seed: int
    ) -> None:
        """`headers` name and prove the session. With `longest` it cuts its connections itself, each after at most so
        many bytes, or twice as many as the last time if that was not enough for one event."""
        super().__init__(daemon=True)
        self.start_at = start
        self.told: list[Told] = []
        self.connections = 0
        self.failures: list[str] = []
        self._port = port
        self._headers = headers
        self._longest = longest
        self._limit = longest
        self._random = random.Random(seed)
        self._last_id = str(start)
        self._closed = threading.Event()
        self._running = threading.Event()
        self._running.set()

    def freeze(self) -> None:
        """Take nothing more from the connection, and leave it open."""
        self._running.clear()

    def thaw(self) -> None:
        """Go on."""
        self._running.set()

    def calm(self) -> None:
        """Cut no more connections."""
        self._longest = self._limit = None

    def close(self) -> None:
        """Come back no more."""
        self._closed.set()
        self._running.set()

    def at(self) -> Position | None:
        """The last position it was told."""
        return self.told[-1].position if self.told else self.start_at

    def run(self) -> None:
        """Connect, read, come back."""
        while not self._closed.is_set():
            try:
                self._read()
            except (OSError, http.client.HTTPException):
                pass  # refused, reset, cut: all of these are what a client must live with
            except Exception as error:  # anything else would end the thread without a word
                self.failures.append(repr(error))
                raise
            self._closed.wait(self._random.uniform(0, 0.05))

    def _read(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SILENCE)
        connection.sock = socket.socket()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BLOCK)
        connection.sock.settimeout(SILENCE)
        try:
            connection.sock.connect(("127.0.0.1", self._port))
            connection.request("GET", "/chat/sse", headers={**self._headers, "Last-Event-ID": self._last_id})
            answer = connection.getresponse()
            if answer.status == 503:
                return
            if answer.status != 200:
                self.failures.append(f"{answer.status} {answer.read()!r}")
                return
            self.connections += 1
            before = len(self.told)
            for event in events(self._blocks(answer)):
                if event.type == "reset":
                    moved = event.id not in ("", self._last_id)
                    self._last_id = event.id or self._last_id
                    self.told.append(Told(Position.parse(event.id) if moved else None, event.type, event.data))
                else:
                    self._last_id = event.id
                    self.told.append(Told(Position.parse(event.id), event.type, event.data))
            if self._limit is not None:
                self._limit = self._longest if len(self.told) > before else self._limit * 2
        finally:
            connection.close()

    def _blocks(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        left = None if self._limit is None else self._random.randint(1, self._limit)
        while left != 0 and not self._closed.is_set():
            self._running.wait()
            block = answer.read1(BLOCK if left is None else min(BLOCK, left))
            if not block:
                return
            left = None if left is None else left - len(block)
            yield block
            if self._random.random() < 0.01:
                time.sleep(0.002)


def check(reader: Reader, log: dict[Position, int], end: Position) -> int:
    """Fail unless what the reader was told is the log from its start to its end, each event once and in order,
    or it was told where it was not. Returns how often it was."""
    resets = 0
    at: Position | None = reader.start_at
    for told in reader.told:
        if told.reset:
            resets += 1
        else:
            assert told.position is not None
            follows = Position(told.position.epoch, 1) if at is None else Position(at.epoch, at.offset + 1)
            assert told.position == follows, f"{told} after {at}"
            assert log[told.position] == told.data["n"]
        at = told.position
    assert at == end, f"ended at {at}, the log at {end}; {reader.failures}"
    return resets
