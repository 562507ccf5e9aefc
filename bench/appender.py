"""Appends events at a steady rate with the event log's own script, cheaply enough not to be what is measured."""

import select
import socket
import time
from collections.abc import Sequence
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID, uuid4

from redis.connection import Connection as RedisConnection

from core.conversation.event_log import EventLog, Producer
from core.stores.redis import Redis

TICK = 0.001
"""Seconds between two sends. What is due is sent in one piece."""
STAMP, SEQUENCE = "1" * 19, 777_777_777
"""What stands in a prepared command where the moment and the producer's sequence number go."""


class Recorder(Redis):
    """Takes down a command instead of sending it."""

    command: tuple[Any, ...]

    def execute_command(self, *args: Any, **_options: Any) -> Any:
        """Note it; the answer is what an append's looks like."""
        self.command = args
        return [1, "00000000"]


def prepared(session_id: UUID, generation_id: UUID, expires_at: datetime) -> tuple[bytes, bytes, bytes]:
    """An append of a piece of text, as Redis wants it: before the moment, between, after the sequence number.

    The moment comes twice, in the event and in the answer being written: the second one stays as it is.
    """
    recorder = Recorder()
    EventLog(recorder).append(
        session_id,
        "delta",
        {"generation_id": str(generation_id), "at": 0, "text": STAMP},
        expires_at=expires_at,
        producer=Producer(generation_id, 1, SEQUENCE),
        role="write",
        text="some text",
    )
    packed = b"".join(RedisConnection().pack_command(*recorder.command))
    before, after = packed.split(STAMP.encode())
    between, after = after.split(str(SEQUENCE).encode())
    return before, between, after


def run(control: Connection, path: str, sessions: Sequence[UUID], expires_at: datetime) -> None:
    """The process. Begins an answer in each session; then for each (rate, seconds) it is sent, appends that much
    and sends back how late the latest was, in seconds."""
    client = Redis(unix_socket_path=path, decode_responses=True)
    log = EventLog(client)
    commands = []
    for session_id in sessions:
        generation_id = uuid4()
        log.append(
            session_id,
            "queued",
            {"generation_id": str(generation_id)},
            expires_at=expires_at,
            producer=Producer(generation_id, 0, 0),
            role="begin",
        )
        commands.append(prepared(session_id, generation_id, expires_at))
    control.send("ready")
    sequence = 100_000_000
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        while True:
            rate, seconds = control.recv()
            sequence, latest = _append(connection, commands, sequence, rate, seconds)
            control.send(latest)


def _append(
    connection: socket.socket,
    commands: Sequence[tuple[bytes, bytes, bytes]],
    sequence: int,
    rate: float,
    seconds: float,
) -> tuple[int, float]:
    total, done, latest = int(rate * seconds), 0, 0.0
    begun = time.monotonic()
    while done < total:
        now = time.monotonic()
        due = min(total, int((now - begun) * rate) + 1)
        block = []
        for number in range(done, due):
            before, between, after = commands[number % len(commands)]
            block += (before, b"%019d" % time.monotonic_ns(), between, b"%d" % (sequence + number), after)
        latest = max(latest, now - begun - done / rate)
        done = due
        connection.sendall(b"".join(block))
        _drain(connection)
        time.sleep(max(0.0, TICK - (time.monotonic() - now)))
    return sequence + total, latest


def _drain(connection: socket.socket) -> None:
    """Take the answers, so that Redis need not keep them; fail when one is an error or a refusal."""
    while select.select([connection], [], [], 0)[0]:
        block = connection.recv(1 << 20)
        if not block or block.startswith(b"-") or b"\r\n-" in block or b":-1\r\n" in block:
            raise RuntimeError(f"an append failed: {block[:200]!r}")
