"""Chunked bodies and heads, however they are cut into reads."""

from collections.abc import Iterator

import pytest
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, NoMoreData, ParseException
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import RequestEntityTooLarge

from web.server.chunks import read_chunked
from web.server.head import MAX_HEAD, Head

LIMIT = 256 * 1024


def _cut(wire: bytes, sizes: list[int]) -> Iterator[bytes]:
    """In pieces of these sizes, and then as it is."""
    for size in sizes:
        if piece := wire[:size]:
            yield piece
        wire = wire[size:]
    if wire:
        yield wire


SIZES = st.lists(st.integers(1, 50), max_size=100)


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=10), st.binary(max_size=50), SIZES)
def test_what_was_put_in_comes_out(chunks: list[bytes], after: bytes, sizes: list[int]) -> None:
    wire = b"".join(b"%X;a=b\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nx: y\r\n\r\n" + after
    pieces = _cut(wire, sizes)
    content, rest = read_chunked(lambda: next(pieces, b""), LIMIT)
    assert content == b"".join(chunks)
    assert rest + b"".join(pieces) == after


@given(st.binary(max_size=200), SIZES)
def test_anything_else_is_an_error(wire: bytes, sizes: list[int]) -> None:
    pieces = _cut(wire, sizes)
    try:
        read_chunked(lambda: next(pieces, b""), 100)
    except (ParseException, NoMoreData, RequestEntityTooLarge):
        return
    assert b"0\r\n" in wire


def test_little_is_read_of_a_body_that_is_mostly_framing() -> None:
    reads = iter([b"1\r\na\r\n" * 1_000] * 262)
    with pytest.raises(ParseException):
        read_chunked(lambda: next(reads, b""), LIMIT)
    assert len(list(reads)) > 259


@given(st.lists(st.binary(max_size=30).map(lambda value: b"a: " + value.hex().encode()), max_size=5), SIZES)
def test_a_head_comes_whole(fields: list[bytes], sizes: list[int]) -> None:
    text = b"\r\n".join([b"GET / HTTP/1.1", *fields, b"", b""])
    head = Head()
    pieces = _cut(text + b"GET", sizes)
    whole = None
    while whole is None:
        whole = head.add(next(pieces))
    assert whole[0] == text
    assert whole[1] + b"".join(pieces) == b"GET"


@pytest.mark.parametrize(
    ("begun", "error"),
    [(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000, LimitRequestHeaders), (b"G" * (MAX_HEAD + 1), LimitRequestLine)],
)
@pytest.mark.parametrize("ended", [b"", b"\r\n\r\n"])
def test_a_long_head_is_no_head(begun: bytes, error: type[Exception], ended: bytes) -> None:
    with pytest.raises((error, LimitRequestHeaders)):
        Head().add(begun + ended + b"x" * (0 if ended else 5))


@pytest.mark.parametrize("pieces", [[b"GET / HTTP/1.1\n"], [b"GET / HTTP/1.1\r\na: b", b"\n"], [b"\n"]])
def test_a_head_that_can_never_end_is_not_waited_for(pieces: list[bytes]) -> None:
    head = Head()
    *first, last = pieces
    assert [head.add(piece) for piece in first] == [None] * len(first)
    assert head.add(last) == (b"".join(pieces), b"")
