"""Conversations as JSON, a message at a time, so that whoever reads a long one holds up nobody else.

One message may have a million characters; to decode it takes the interpreter for up to 10 ms, and so does encoding.
"""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any

from core.conversation.message import Message
from core.errors import Unavailable

TURNS = BoundedSemaphore(2)
"""How many messages, or pages of them, a process reads or encodes at once. All share one interpreter: more at once
would be ready no sooner, and everybody else would come after all of them."""
PATIENCE = 5.0
"""Seconds that a reader waits for its turn. Forty that come at once for the largest message there can be, a million
emoji or control characters, are through in two."""
LARGE = 50_000
"""Bytes of JSON after which others have a turn: about a millisecond's work."""


@contextmanager
def turn() -> Iterator[None]:
    """One of the turns at reading. Raises Unavailable when there is none in time."""
    if not TURNS.acquire(timeout=PATIENCE):
        raise Unavailable
    try:
        yield
    finally:
        TURNS.release()


def encoded(told: dict[str, Any], messages: Iterable[Message]) -> Iterator[bytes]:
    """One JSON object in pieces: what is `told`, then the `messages`, each read and encoded in a turn of its own.
    Raises Unavailable."""
    yield json.dumps(told)[:-1].encode() + b', "messages": ['
    begin, since = b"\n", 0
    unread = iter(messages)
    while True:
        with turn():
            message = next(unread, None)
            piece = None if message is None else begin + message.encode()
        if piece is None:
            break
        yield piece
        begin, since = b",\n", since + len(piece)
        if since > LARGE:
            since = 0
            time.sleep(0)
    yield b"\n]}\n"
