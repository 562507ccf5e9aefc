"""Asks a question as a browser does, and notes when each token of the answer comes."""

import json
import re
import socket
import time
from array import array

from bench.bare import Answer
from core.sessions.credential import Credential

TOKEN = re.compile(rb"\d{4}\.\d{19} ")
END = b"\n\n\r\n"
"""The end of an event and of the HTTP chunk that carries it."""
PATIENCE = 30.0
"""Seconds between two events."""


def ask(port: int, credential: Credential) -> Answer:
    """POST /chat/sse, read to the answer's end."""
    body = json.dumps({"message": "Count."}).encode()
    head = (
        "POST /chat/sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nConnection: close\r\n"
        f"X-Session-ID: {credential}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    texts: list[str] = []
    arrivals = array("Q")
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        asked = time.monotonic_ns()
        connection.sendall(head.encode() + body)
        rest = received = b""
        while block := connection.recv(65536):
            now = time.monotonic_ns()
            received += block
            whole, end, rest = (rest + block).rpartition(END)
            tokens = TOKEN.findall(whole + end)
            texts += [token.decode() for token in tokens]
            arrivals.extend([now] * len(tokens))
    if not received.startswith(b"HTTP/1.1 200") or b"event:done\n" not in received:
        raise RuntimeError(f"not answered: {received[:300]!r} ... {received[-300:]!r}")
    return Answer(texts, asked, arrivals)
