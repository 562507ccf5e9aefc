"""A provider's event stream with bounds, for the SDKs, which gather lines and events of any length."""

import zlib
from collections.abc import Callable, Iterable, Iterator

import httpx2

from core.providers import ErrorKind, ProviderError

MAX_EVENT = 4 * 1024 * 1024
"""Bytes of one event: its lines, and so its JSON, after decompression. A server that does not stream may send an
answer of the greatest length at once; nothing that a model says needs more."""
MAX_LINES = 100
"""Lines of one event. Known servers send three; some SDKs copy the event at each of its lines."""
PIECE = 64 * 1024
"""Bytes that are decompressed at once: a thousandfold of what was sent may come out."""
COMPRESSED = {"gzip", "x-gzip", "deflate"}


class BoundedBody(httpx2.SyncByteStream):
    """A response's body, decompressed, in whole events with plain line ends.

    Reading raises ProviderError for an event that is too long. It ends soon after `aborted` says so, also while what
    has been received already says nothing at great length.
    """

    def __init__(self, body: httpx2.SyncByteStream, *, compressed: bool, aborted: Callable[[], bool]) -> None:
        self._body = body
        self._compressed = compressed
        self._aborted = aborted

    def __iter__(self) -> Iterator[bytes]:
        pieces = _decompressed(self._body) if self._compressed else self._body
        for events in whole_events(pieces):
            if self._aborted():
                return
            yield events

    def close(self) -> None:
        """Close the connection."""
        self._body.close()


def bound(response: httpx2.Response, aborted: Callable[[], bool]) -> None:
    """Let the response's body be read within bounds. Its head is bounded by the HTTP client, to 100 kB."""
    encodings = set(response.headers.get_list("Content-Encoding", split_commas=True)) - {"", "identity"}
    if len(encodings) > 1 or not encodings <= COMPRESSED:
        raise ProviderError(ErrorKind.BROKEN_STREAM, "unknown Content-Encoding")
    if encodings:
        del response.headers["Content-Encoding"]  # else the client would do it too, without bounds
    assert isinstance(response.stream, httpx2.SyncByteStream)
    response.stream = BoundedBody(response.stream, compressed=bool(encodings), aborted=aborted)


def whole_events(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes with LF for every line end, cut after blank lines only; empty where a piece completes no event.
    What is left at the end comes as it is. Raises ProviderError."""
    held = bytearray()
    lines = 0
    after_cr = False
    for piece in pieces:
        plain = piece[1:] if after_cr and piece.startswith(b"\n") else piece
        after_cr = piece.endswith(b"\r") if piece else after_cr
        plain = plain.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        searched = max(0, len(held) - 1)
        held += plain
        lines += plain.count(b"\n")
        whole = b""
        if (end := held.rfind(b"\n\n", searched)) >= 0:
            whole = bytes(held[: end + 2])
            del held[: end + 2]
            for event in whole.split(b"\n\n"):
                _check(len(event), event.count(b"\n") + 1)
            lines = held.count(b"\n")
        _check(len(held), lines)
        yield whole
    yield bytes(held)


def _check(size: int, lines: int) -> None:
    if size > MAX_EVENT or lines > MAX_LINES:
        raise ProviderError(ErrorKind.BROKEN_STREAM, f"an event of {size} bytes in {lines} lines")


def _decompressed(body: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, as the data's own head says
    for received in body:
        rest = received
        while True:
            try:
                piece = decompressor.decompress(rest, PIECE)
            except zlib.error:
                raise ProviderError(ErrorKind.BROKEN_STREAM, "broken compression") from None
            yield piece
            rest = decompressor.unconsumed_tail
            if len(piece) < PIECE:
                break
