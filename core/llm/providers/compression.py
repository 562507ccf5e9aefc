"""A response's body as it was before it was compressed, in pieces of a bounded size: pure, fed what is received."""

import zlib
from collections.abc import Iterable

from core.llm.providers.base import ErrorKind, ProviderError

PIECE_SIZE = 16 * 1024
"""Bytes of a piece at most: a thousandfold of what was sent may come out, and others wait while it is read."""
COMPRESSED = {"gzip", "x-gzip", "deflate"}


class Decoder:
    """One body. What it is fed comes out of it in pieces."""

    def __init__(self, encodings: Iterable[str]) -> None:
        """`encodings`: what Content-Encoding says. Raises ProviderError for what can't be read."""
        known = {each.strip().lower() for encoding in encodings for each in encoding.split(",")} - {"", "identity"}
        if len(known) > 1 or not known <= COMPRESSED:
            raise ProviderError(ErrorKind.BROKEN_STREAM, "unknown Content-Encoding")
        # gzip or zlib, as the data's own head says
        self._decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32) if known else None
        self._rest = b""

    def feed(self, received: bytes = b"") -> bytes:
        """The next piece, after what was received. Without that it is one more of what was fed before, and empty when
        there is none. Raises ProviderError."""
        data = self._rest + received
        if self._decompressor is None:
            self._rest = data[PIECE_SIZE:]
            return data[:PIECE_SIZE]
        if self._decompressor.eof:
            return b""
        try:
            piece = self._decompressor.decompress(data, PIECE_SIZE)
        except zlib.error:
            raise ProviderError(ErrorKind.BROKEN_STREAM, "broken compression") from None
        self._rest = self._decompressor.unconsumed_tail
        return piece
