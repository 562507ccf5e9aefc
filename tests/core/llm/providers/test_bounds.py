"""Servers that say too much, in the real protocols over real connections: what is kept of it is bounded."""

import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.generation.batch import MAX_BUFFERED
from core.generation.stream_filter import MAX_ANSWER_LENGTH
from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError, Turn
from core.llm.providers.events import MAX_EVENT, EventReader
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import Generation, Session
from tests.support.dialects import DIALECTS
from tests.support.provider import ANSWER, Handler, Manner, ProviderServer, pieces
from tests.support.reading import ChunkReader
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

PROTOCOLS = list(DIALECTS)
MEGABYTE = 1024 * 1024
FLOOD = 40 * MEGABYTE
KEPT = 6 * MAX_EVENT
"""Bytes that may be in use at once: for an event as it was received, as lines, as text, as JSON, and its parts."""


def _flood(begin: bytes = b"", block: bytes = b"x" * 65536, end: bytes = b"") -> Manner:
    """40 MB, unless the other side has had enough before."""

    def manner(handler: Handler) -> None:
        handler.begin()
        handler.say(begin)
        for _ in range(FLOOD // len(block)):
            handler.say(block)
        handler.say(end)
        handler.conclude()

    return manner


def _chunk_of(characters: int, letter: str = "x", then: Manner = Handler.conclude) -> Manner:
    """One piece of an answer that has this length."""

    def manner(handler: Handler) -> None:
        before, _, after = handler.dialect.piece("TEXT").partition("TEXT")
        handler.begin()
        handler.say(before)
        block = letter * 50_000
        for _ in range(characters // len(block)):
            handler.say(block)
        handler.say(letter * (characters % len(block)) + after)
        then(handler)

    return manner


def _compressed(words: Callable[[Handler], Iterator[bytes]], encoding: str = "gzip") -> Manner:
    def manner(handler: Handler) -> None:
        compressor = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)  # with the head of the one or the other
        handler.head(Content_Encoding=encoding)
        for part in words(handler):
            handler.say(compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH))
        handler.say(compressor.flush())

    return manner


def _answer(handler: Handler) -> Iterator[bytes]:
    dialect = handler.dialect
    for part in (dialect.opening(), *map(dialect.piece, pieces(ANSWER)), dialect.closing("stop", usage=True)):
        yield part.encode()


def _bomb(handler: Handler) -> Iterator[bytes]:
    yield handler.dialect.opening().encode()
    yield b"data: "
    for _ in range(FLOOD // MEGABYTE):
        yield b"x" * MEGABYTE


def _nothing_at_length(handler: Handler) -> None:
    """64 kB that become 64 MB of comments, and then silence."""
    handler.head(Content_Encoding="gzip")
    handler.say(gzip.compress(handler.dialect.opening().encode() + b":\n\n" * (64 * MEGABYTE // 3)))
    _wait_for_the_end(handler)


def _wait_for_the_end(handler: Handler) -> None:
    handler.connection.recv(1)
    handler.owner.disconnected.set()


def _long_head(handler: Handler) -> None:
    handler.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Long: ")
    for _ in range(FLOOD // 65536):
        handler.say(b"x" * 65536)


def _many_heads(handler: Handler) -> None:
    handler.say(b"HTTP/1.1 200 OK\r\n")
    for _ in range(FLOOD // 65536):
        handler.say(b"X-Short: x\r\n" * (65536 // 12))


TOO_MUCH: dict[str, Manner] = {
    "a chunk": _chunk_of(FLOOD),
    "a line": _flood(),
    "data lines": _flood(b"", b"data: x\n" * 8192),
    "long data lines": _flood(b"", b"data: " + b"x" * 100_000 + b"\n"),
    "comments": _flood(b"", b": x\n" * 8192),
    "comments, CR": _flood(b"", b": x\r" * 8192),
    "an event's name": _flood(b"event: "),
    "a head": _long_head,
    "heads": _many_heads,
    "a bomb": _compressed(_bomb),
    "a bomb, deflated": _compressed(_bomb, "deflate"),
    "two encodings": lambda handler: handler.head(Content_Encoding="gzip, gzip"),
    "an unknown encoding": lambda handler: handler.head(Content_Encoding="br"),
}
MANNERS = {
    **TOO_MUCH,
    "nothing at length": _nothing_at_length,
    "gzip": _compressed(_answer),
    "deflate": _compressed(_answer, "deflate"),
    "mixed line ends": lambda handler: (
        handler.head(),
        handler.say(b"".join(_answer(handler)).replace(b"\n\n", b"\n\r\n")),
    )[0],
    "as long as may be": _chunk_of(MAX_ANSWER_LENGTH),
    "one too many": _chunk_of(MAX_ANSWER_LENGTH + 1),
    "three million": _chunk_of(3 * MAX_ANSWER_LENGTH),
    "three million, open": _chunk_of(3 * MAX_ANSWER_LENGTH, then=lambda handler: _wait_for_the_end(handler)),
    "wide": _chunk_of(MAX_ANSWER_LENGTH + 1, "你"),
    "in two": lambda handler: (
        handler.begin(),
        handler.chunk("a" * (MAX_ANSWER_LENGTH - 10)),
        handler.chunk("b" * 20),
        handler.conclude(),
    )[0],
}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """A server with every manner of this file."""
    talkative = ProviderServer(MANNERS)
    yield talkative
    talkative.stop()


def _reader(server: ProviderServer, protocol: str, model: str) -> ChunkReader:
    where = {"provider": protocol, "base_url": server.base_url(protocol), "model": model}
    config = ModelConfig.model_validate({"label": "M", **where})
    pool = ClientPool(ModelCatalog(default="m", models={"m": config}), local_url="")
    return ChunkReader(pool.open("m", [Turn("user", "?")]))


@contextmanager
def _memory() -> Iterator[Callable[[], int]]:
    """The most that has been in use, of what was allocated within the block."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _heard(reader: ChunkReader) -> tuple[list[str], ProviderError | None]:
    texts = []
    while True:
        batch = reader.read_batch(timeout=1)
        texts.append(batch.text)
        if batch.ended:
            return texts, batch.error


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", TOO_MUCH)
def test_what_no_answer_needs_is_refused_before_it_is_gathered(
    server: ProviderServer, protocol: str, model: str
) -> None:
    with _memory() as most:
        texts, error = _heard(_reader(server, protocol, model))
        assert most() < KEPT
    assert sum(map(len, texts)) == 0
    assert error is not None
    assert error.kind == ErrorKind.BROKEN_STREAM
    assert "xx" not in str(error)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_at_great_length_is_left_when_nobody_wants_it(server: ProviderServer, protocol: str) -> None:
    server.disconnected.clear()
    reader = _reader(server, protocol, "nothing at length")
    assert reader.read_batch(timeout=0.3).text == ""
    reader.abort()
    assert server.disconnected.wait(5)


@pytest.mark.timing
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_says_nothing_at_great_length_holds_up_no_other(server: ProviderServer, protocol: str) -> None:
    floods = [_reader(server, protocol, "nothing at length") for _ in range(4)]
    wait_for(lambda: all(flood.read_batch(timeout=0.1).alive for flood in floods), what="all are being read")
    begun = time.monotonic()
    assert "".join(_heard(_reader(server, protocol, "gzip"))[0]) == ANSWER
    assert time.monotonic() - begun < 1
    assert not any(flood.read_batch(timeout=0).ended for flood in floods)
    for flood in floods:
        flood.abort()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", ["gzip", "deflate", "mixed line ends"])
def test_what_is_only_unusual_is_read(server: ProviderServer, protocol: str, model: str) -> None:
    texts, error = _heard(_reader(server, protocol, model))
    assert error is None
    assert "".join(texts) == ANSWER


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_large_chunk_waits_in_parts(server: ProviderServer, protocol: str) -> None:
    texts, error = _heard(_reader(server, protocol, "three million"))
    assert (sum(map(len, texts)), error) == (3 * MAX_ANSWER_LENGTH, None)
    assert max(map(len, texts)) <= MAX_BUFFERED


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_large_chunk_that_nobody_takes_is_left(server: ProviderServer, protocol: str) -> None:
    server.disconnected.clear()
    reader = _reader(server, protocol, "three million, open")
    assert reader.read_batch(timeout=30).text
    reader.abort()
    assert server.disconnected.wait(5)


@pytest.mark.parametrize(
    ("model", "length", "reason"),
    [
        ("as long as may be", MAX_ANSWER_LENGTH, "stop"),
        ("one too many", MAX_ANSWER_LENGTH, "length"),
        ("three million", MAX_ANSWER_LENGTH, "length"),
        ("wide", MAX_ANSWER_LENGTH, "length"),
        ("in two", MAX_ANSWER_LENGTH, "length"),
        ("a chunk", 0, "provider-failed"),
    ],
)
def test_an_answer_ends_at_its_greatest_length(
    runtime: Runtime, server: ProviderServer, models_path: Path, model: str, length: int, reason: str
) -> None:
    models_path.write_text(
        f'default = "m"\n[models.m]\nlabel = "m"\nprovider = "openai"\nbase_url = "{server.url}"\nmodel = "{model}"\n'
        "max_tokens = 100\ncontext_tokens = 600\n"
    )
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session: Session = runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash
        )
    accepted = runtime.generations.accept(session, "Why?")
    runtime.writer.run()

    with runtime.database.reading() as db:
        row = db.get_one(Generation, accepted.generation_id)
    assert row.finish_reason == reason
    answer = runtime.transcript.read(session).messages[-1]
    assert len(answer.text) == length
    said = [json.loads(event.data) for event in runtime.log.read(session.id, after=0).events if event.type == "delta"]
    assert sum(len(delta["text"]) for delta in said) == length
    assert all(len(delta["text"]) <= MAX_BUFFERED for delta in said)


def _events(parts: Iterable[bytes]) -> list[object]:
    reader = EventReader()
    return [event.data for part in parts for event in reader.feed(part)] + [event.data for event in reader.end()]


@given(
    st.lists(st.sampled_from(["data: [1]", "data:{}", ": x", "event: e", "data: [", "data: 2]", ""]), max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_events_are_the_same_however_they_are_cut(lines: list[str], end: str, cuts: list[int]) -> None:
    body = "".join(line + end for line in lines).encode()
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]

    def read(parts: list[bytes]) -> list[object]:
        try:
            return _events(parts)
        except ProviderError as error:
            return [error.kind]

    whole = read([body])
    assert read([body[start:end] for start, end in pairwise(places)]) == whole
    assert read([body.replace(end.encode(), b"\n")]) == whole


@pytest.mark.parametrize(
    "event",
    [b"x" * (MAX_EVENT + 1), b"data: x\n" * MAX_EVENT, b": x\n" * MAX_EVENT],
    ids=["line", "lines", "comments"],
)
@pytest.mark.parametrize("end", [b"", b"\n\n"], ids=["open", "closed"])
@pytest.mark.parametrize("size", [9973, 100_000])
def test_the_bounds_do_not_depend_on_the_pieces(event: bytes, end: bytes, size: int) -> None:
    body = b"data: {}\n\n" + event + end
    with pytest.raises(ProviderError):
        _events(body[at : at + size] for at in range(0, len(body), size))


def test_as_many_events_and_comments_as_there_are_may_come() -> None:
    assert len(_events([b": ping\n\ndata: {}\n\n" * 1000] * 300)) == 300_000
