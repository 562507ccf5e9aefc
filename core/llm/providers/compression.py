"""A response's body as it was before it was compressed, in pieces of a bounded size."""

import zlib
from collections.abc import Iterable, Iterator

from core.llm.providers.base import ErrorKind, ProviderError

PIECE_SIZE = 64 * 1024
"""Bytes that are decompressed at once: a thousandfold of what was sent may come out."""
COMPRESSED = {"gzip", "x-gzip", "deflate"}


def decompressed(body: Iterable[bytes], encodings: Iterable[str]) -> Iterator[bytes]:
    """The body's bytes. `encodings`: what Content-Encoding says. Raises ProviderError for what can't be read."""
    known = {encoding.lower() for encoding in encodings} - {"", "identity"}
    if len(known) > 1 or not known <= COMPRESSED:
        raise ProviderError(ErrorKind.BROKEN_STREAM, "unknown Content-Encoding")
    return _decompressed(body) if known else iter(body)


def _decompressed(body: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, as the data's own head says
    for received in body:
        rest = received
        while True:
            try:
                piece = decompressor.decompress(rest, PIECE_SIZE)
            except zlib.error:
                raise ProviderError(ErrorKind.BROKEN_STREAM, "broken compression") from None
            yield piece
            rest = decompressor.unconsumed_tail
            if len(piece) < PIECE_SIZE:
                break
