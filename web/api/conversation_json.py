"""Conversations as JSON, a message at a time, so that reading a long one delays no other request.

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

READERS = BoundedSemaphore(2)
"""How many messages, or pages of them, a process reads or encodes at once. All share one interpreter: more at once
would be ready no sooner, and all other requests would come after all of them."""
READER_TIMEOUT = 5.0
"""Seconds that a request waits for its turn to read. Forty that come at once for the largest message there can be, a
million emoji or control characters, are through in two."""
YIELD_BYTES = 50_000
"""Bytes of JSON after which other requests have a turn: about a millisecond's work."""


@contextmanager
def one_of_readers() -> Iterator[None]:
    """Be one of the process's readers. Raises Unavailable after READER_TIMEOUT."""
    if not READERS.acquire(timeout=READER_TIMEOUT):
        raise Unavailable
    try:
        yield
    finally:
        READERS.release()


def encode_conversation(fields: dict[str, Any], messages: Iterable[Message]) -> Iterator[bytes]:
    """One JSON object in pieces: the `fields`, then the `messages`, each read and encoded in a turn of its own.
    Raises Unavailable."""
    yield json.dumps(fields)[:-1].encode() + b', "messages": ['
    begin, since = b"\n", 0
    unread = iter(messages)
    while True:
        with one_of_readers():
            message = next(unread, None)
            piece = None if message is None else begin + message.encode()
        if piece is None:
            break
        yield piece
        begin, since = b",\n", since + len(piece)
        if since > YIELD_BYTES:
            since = 0
            time.sleep(0)
    yield b"\n]}\n"
