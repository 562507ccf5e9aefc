"""A chunked body (RFC 9112, 7.1), as strictly as it is written, and with a bound on everything but its content."""

import re
from collections.abc import Callable

from gunicorn.http.body import CHUNK_EXT_RE
from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkExtension,
    InvalidChunkSize,
    InvalidHeader,
    LimitRequestHeaders,
    NoMoreData,
)
from werkzeug.exceptions import RequestEntityTooLarge

MAX_SIZE_LINE = 256
"""Bytes of the line before a chunk: its size in hex, and extensions, which no client sends."""
MAX_TRAILERS = 4 * 1024
"""Bytes of the fields after the last chunk, which are read and dropped."""
FRAMING = 4 * 1024
"""Bytes of a body that may be other than content, besides FRAMING_SHARE of the content: chunks of a single byte cost
six on the wire and a hundred times what a byte of a large one takes."""
FRAMING_SHARE = 1 / 8
"""The part of the content: chunks of 56 bytes."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*(;.*))?", re.DOTALL)
_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


def read_chunked(read: Callable[[], bytes], limit: int) -> tuple[bytes, bytes]:
    """The content, and what came after the body. `read` gives the next bytes, b"" at their end.

    Raises gunicorn's ParseException when it is broken, or made of too small chunks, NoMoreData when it ends early,
    and RequestEntityTooLarge as soon as it says that it has more than `limit` bytes.
    """
    wire, content = _Wire(read), bytearray()
    framing = 0
    while True:
        line = wire.line(MAX_SIZE_LINE, InvalidChunkSize(b"a line without an end"))
        size = _size(line)
        if size == 0:
            break
        if len(content) + size > limit:
            raise RequestEntityTooLarge
        wire.move(size, content)
        if wire.take(2) != b"\r\n":
            raise ChunkMissingTerminator(b"")
        framing += len(line) + 4
        if framing > FRAMING + len(content) * FRAMING_SHARE:
            raise InvalidChunkSize(b"chunks too small")
    left = MAX_TRAILERS
    while field := wire.line(left, LimitRequestHeaders("trailers too long")):
        if not _FIELD.fullmatch(field):
            raise InvalidHeader("trailer")
        left -= len(field) + 2
    return bytes(content), wire.rest()


def _size(line: bytes) -> int:
    match = _SIZE.fullmatch(line)
    if match is None:
        raise InvalidChunkSize(line)
    if match[2] is not None and not CHUNK_EXT_RE.fullmatch(match[2]):
        raise InvalidChunkExtension("invalid chunk extension")
    return int(match[1], 16)


class _Wire:
    """What comes, with a place in it."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._come = b""
        self._at = 0

    def line(self, longest: int, too_long: Exception) -> bytes:
        """Up to the next CRLF, without it. Raises `too_long`."""
        while (end := self._come.find(b"\n", self._at, self._at + longest + 2)) < 0:
            if len(self._come) - self._at >= longest + 2:
                raise too_long
            self._more()
        line, self._at = self._come[self._at : end], end + 1
        if not line.endswith(b"\r"):
            raise InvalidHeader("bare LF as line terminator")
        return line[:-1]

    def move(self, size: int, to: bytearray) -> None:
        """Append the next bytes to another place."""
        while size > 0:
            if self._at == len(self._come):
                self._more()
            piece = self._come[self._at : self._at + size]
            to += piece
            self._at += len(piece)
            size -= len(piece)

    def take(self, size: int) -> bytes:
        """The next few bytes."""
        taken = bytearray()
        self.move(size, taken)
        return bytes(taken)

    def rest(self) -> bytes:
        """What has come already after all that."""
        return self._come[self._at :]

    def _more(self) -> None:
        piece = self._read()
        if not piece:
            raise NoMoreData
        self._come = self._come[self._at :] + piece
        self._at = 0
