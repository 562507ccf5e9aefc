"""A request's head, gathered until it is whole. gunicorn's parser looks at all that it has again with each piece that
comes, so a long head that came byte by byte would be the only thing the process does."""

import re

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine

MAX_HEAD = 32 * 1024
"""Bytes of the request line and all fields together, as other servers have it (nginx: 4 x 8 KiB)."""
MAX_LINE = 8190
"""Bytes of the request line: gunicorn's limit, known before the line has ended."""
_END = b"\r\n\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")


class Head:
    """What has come of it. Every byte is looked at once, however they come."""

    __slots__ = ("_come", "_looked_at")

    def __init__(self) -> None:
        self._come = bytearray()
        self._looked_at = 0

    def add(self, piece: bytes) -> tuple[bytes, bytes] | None:
        """The head and what came after it, once it is whole, or can't become one, which the parser says best.

        Raises LimitRequestLine or LimitRequestHeaders when it gets too long.
        """
        come = self._come
        come += piece
        end = come.find(_END, max(0, self._looked_at - len(_END) + 1))
        if end > MAX_HEAD or (end < 0 and len(come) > MAX_HEAD + len(_END)):
            raise LimitRequestHeaders(f"the head is longer than {MAX_HEAD} bytes")
        if end >= 0:
            end += len(_END)
            return bytes(come[:end]), bytes(come[end:])
        if len(come) > MAX_LINE + 2 and come.find(b"\r\n", 0, MAX_LINE + 2) < 0:
            raise LimitRequestLine(len(come), MAX_LINE)
        if _BARE_LF.search(come, self._looked_at):
            return bytes(come), b""
        self._looked_at = len(come)
        return None
