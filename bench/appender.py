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

from core.conversation.event_log import AnswerEvent, EventLog
from core.conversation.position import Producer
from core.stores.redis import Redis

TICK = 0.001
"""Seconds between two sends. What is due is sent in one piece."""
STAMP, SEQUENCE = "1" * 19, 777_777_777
"""What stands in a prepared command where the moment and the producer's sequence number go."""


class Recorder(Redis):
    """Takes down a command instead of sending it."""

    taken: tuple[Any, ...]

    def execute_command(self, *args: Any, **_options: Any) -> Any:
        """Note it; the answer is what an append's looks like."""
        self.taken = args
        return [1, "00000000"]


def prepared(session_id: UUID, generation_id: UUID, expires_at: datetime) -> tuple[bytes, bytes, bytes]:
    """A write of an event, as Redis wants it: before the moment, between, after the sequence number.

    It adds nothing to the answer being written, of which each write names the size, so one command serves for all.
    """
    recorder = Recorder()
    _write(EventLog(recorder), session_id, Producer(generation_id, 1, SEQUENCE), expires_at)
    packed = b"".join(RedisConnection().pack_command(*recorder.taken))
    before, after = packed.split(STAMP.encode())
    between, after = after.split(str(SEQUENCE).encode())
    return before, between, after


def _write(log: EventLog, session_id: UUID, producer: Producer, expires_at: datetime) -> None:
    data = {"generation_id": str(producer.generation_id), "at": 0, "text": STAMP}
    log.write(AnswerEvent(session_id, "delta", data, producer, expires_at=expires_at))


def run(control: Connection, path: str, sessions: Sequence[UUID], expires_at: datetime) -> None:
    """The process. Begins an answer in each session; then for each (rate, seconds) it is sent, appends that much
    and sends back how late the latest was, in seconds."""
    client = Redis(unix_socket_path=path, decode_responses=True)
    log = EventLog(client)
    commands = []
    for session_id in sessions:
        generation_id = uuid4()
        data = {"generation_id": str(generation_id)}
        log.begin(session_id, "queued", data, Producer(generation_id, 0, 0), expires_at=expires_at, answer="{}")
        _write(log, session_id, Producer(generation_id, 1, 1), expires_at)  # the prepared command needs the script
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
        block: list[bytes] = []
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
        if not block or block.startswith(b"-") or b"\r\n-" in block or b":-" in block:
            raise RuntimeError(f"an append failed: {block[:200]!r}")
