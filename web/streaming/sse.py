"""Server-sent events as bytes (WHATWG HTML, 9.2)."""

from flask_sse import Message

COMMENT = b": \n\n"
"""Tells proxies and browsers that the connection lives."""
RETRY = b"retry: 2000\n\n"
"""How long, in milliseconds, a native EventSource waits before it connects again."""


def frame(kind: str, data: str, event_id: str | None = None) -> bytes:
    """One event. `data` is JSON text in ASCII: it holds no line break that could end it early."""
    return str(Message(data, type=kind, id=event_id)).encode("ascii")
