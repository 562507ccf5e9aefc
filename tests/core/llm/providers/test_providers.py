"""The real clients against a real server that speaks their protocols well, oddly and badly."""

import json
import socket
import ssl
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import HttpUrl

from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.model_config import ModelConfig
from core.llm.providers.answer import Answer
from core.llm.providers.anthropic import MessageInterpreter
from core.llm.providers.base import Chunk, ChunkStream, ErrorKind, ProviderError, Turn, Usage, believable
from core.llm.providers.model import make
from core.llm.providers.openai_compatible import CompletionInterpreter
from tests.support.certificate import certify
from tests.support.dialects import DIALECTS
from tests.support.provider import ANSWER, Handler, Manner, ProviderServer, in_turn, nowhere, pieces
from tests.support.reading import LOOP, read
from tests.support.waiting import wait_for

PROTOCOLS = list(DIALECTS)
SECRET = "sk-secret"
"""What a server says in its errors, and nobody may see."""
QUESTION = [Turn("user", "Why?")]


def _told(*parts: str | bytes | Callable[[Handler], str | bytes], reason: str = "stop", usage: bool = True) -> Manner:
    """An answer: texts in their order, and between them whatever else comes over the wire."""

    def manner(handler: Handler) -> None:
        handler.begin()
        for part in parts:
            if isinstance(part, str):
                handler.chunk(part)
            else:
                handler.say(part if isinstance(part, bytes) else part(handler))
        handler.conclude(reason, usage=usage)

    return manner


def _event(data: str) -> Callable[[Handler], str]:
    return lambda handler: handler.dialect.event(data)


def _json_text(text: str) -> Callable[[Handler], str]:
    """A piece whose text is this JSON, as it stands."""
    return lambda handler: handler.dialect.piece("TEXT").replace('"TEXT"', text)


PADDING = [
    *("null", "[]", "[null]", "[1]", "5", "0.5", "true", "false", '""', '"sk-secret"', "{}"),
    *('{"choices": {}}', '{"choices": ""}', '{"choices": 5}', '{"choices": [null, 5, "", []]}'),
    *(f'{{"choices": [{{"index": 0, "delta": {delta}}}]}}' for delta in ("null", "[]", '""', "5", "true")),
    *(f'{{"type": "content_block_delta", "index": 1, "delta": {delta}}}' for delta in ("null", "[]", '""', "5")),
    '{"type": "message_delta", "delta": {}, "usage": []}',
]
"""Data of events that carry no word, as gateways send them in the middle of what is well."""


def _between(*parts: str) -> list[str | Callable[[Handler], str]]:
    """Parts for `_told`, with an event for each that is PADDING."""
    return [_event(part) if part in PADDING else part for part in parts]


def _raw_text(text: bytes) -> Callable[[Handler], bytes]:
    """A piece whose text is these bytes, whether they are characters or not."""
    return lambda handler: handler.dialect.piece("TEXT").encode().replace(b"TEXT", text)


def _thought(handler: Handler) -> str:
    return handler.dialect.thought("Hm.")


def _whole(handler: Handler) -> str:
    """The bytes of a whole answer."""
    dialect = handler.dialect
    return dialect.opening() + "".join(map(dialect.piece, pieces(ANSWER))) + dialect.closing("stop", usage=True)


def _with_line_ends(ends: str) -> Manner:
    def manner(handler: Handler) -> None:
        handler.head()
        handler.say(_whole(handler).replace("\n", ends))

    return manner


def _chunked(handler: Handler, blocks: list[bytes], *, end: bool = True) -> None:
    """HTTP chunks, each of which reaches the client's parser by itself."""
    handler.head(Transfer_Encoding="chunked")
    for block in blocks:
        if block:
            handler.say(b"%x\r\n%s\r\n" % (len(block), block))
    if end:
        handler.say(b"0\r\n\r\n")


def _in_single_bytes(handler: Handler) -> None:
    _chunked(handler, [bytes([byte]) for byte in _whole(handler).encode()])


def _as_plain_text(handler: Handler) -> None:
    handler.head(content_type="text/plain")
    handler.say(_whole(handler))


def _without_opening(handler: Handler) -> None:
    handler.head()
    handler.chunk(ANSWER)
    handler.conclude()


def _lingering(handler: Handler) -> None:
    handler.head()
    handler.say(_whole(handler))
    handler.connection.recv(1)


def _without_usage(handler: Handler) -> None:
    handler.head()
    handler.say(handler.dialect.opening().replace("usage", "weather"))
    handler.chunk(ANSWER)
    handler.conclude(usage=False)


def _counting(tokens: int) -> Manner:
    def manner(handler: Handler) -> None:
        handler.head()
        handler.say(_whole(handler).replace(": 11", f": {tokens}"))

    return manner


LONG = "Grüße 🎉 " * 100_000
"""More than a megabyte."""

USAGE = Usage(7, 11)


def _early_hints(count: int) -> Manner:
    def manner(handler: Handler) -> None:
        handler.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * count)

    return manner


RIGHT: dict[str, tuple[Manner, str, str, Usage | None]] = {
    "whole": (_told(*pieces(ANSWER)), ANSWER, "stop", USAGE),
    "early hints": (in_turn(_early_hints(20), _told(*pieces(ANSWER))), ANSWER, "stop", USAGE),
    "comments": (_told(b": ping\n\n", "Half an ", b":\n:\n\n", "answer."), "Half an answer.", "stop", USAGE),
    "lines that are none": (_told("a", b"nonsense\ndatum: 5\nretry: soon\n\n", "b"), "ab", "stop", USAGE),
    "thoughts and tools": (_told(_thought, "a", _thought, "b", _thought), "ab", "stop", USAGE),
    "no choices": (_told("a", _event('{"choices": []}'), _event('{"choices": null}'), "b"), "ab", "stop", USAGE),
    "no delta": (_told("a", _event('{"choices": [{"index": 0}]}'), _event("{}"), "b"), "ab", "stop", USAGE),
    "events that say nothing": (_told(*_between("a", *PADDING, "b")), "ab", "stop", USAGE),
    "nothing before the first word": (_told(*_between(*PADDING, ANSWER)), ANSWER, "stop", USAGE),
    "null": (_told("a", _json_text("null"), "", "b"), "ab", "stop", USAGE),
    "no end of the connection": (_lingering, ANSWER, "stop", USAGE),
    "a document": (lambda handler: _whole_document(handler), ANSWER, "stop", USAGE),
    "no opening": (_without_opening, ANSWER, "stop", Usage(0, 11)),
    "no usage": (_without_usage, ANSWER, "stop", None),
    "more tokens than there are": (_counting(10**20), ANSWER, "stop", None),
    "reset after the end": (in_turn(_told(ANSWER), lambda handler: _reset(handler)), ANSWER, "stop", USAGE),
    "a megabyte at once": (_told(LONG), LONG, "stop", USAGE),
    "single bytes": (_in_single_bytes, ANSWER, "stop", USAGE),
    "CRLF": (_with_line_ends("\r\n"), ANSWER, "stop", USAGE),
    "CR": (_with_line_ends("\r"), ANSWER, "stop", USAGE),
    "text/plain": (_as_plain_text, ANSWER, "stop", USAGE),
    "halves of a character": (_told(_json_text(r'"a\ud83c"'), _json_text(r'"\udf89b"')), "a🎉b", "stop", USAGE),
    "half a character": (_told(_json_text(r'"a\ud83c"'), "b"), "a\N{REPLACEMENT CHARACTER}b", "stop", USAGE),
    "bytes that are no character": (_told(_raw_text(b"bad \xff\xfe"), "b"), "bad \ufffd\ufffdb", "stop", USAGE),
    "bytes of half a character": (_told("a", _raw_text(b"\xe6\x9c"), "b"), "a\ufffdb", "stop", USAGE),
    "NUL": (_told(_json_text(r'"a\u0000b"')), "a\N{REPLACEMENT CHARACTER}b", "stop", USAGE),
    "too long": (_told("Half an", reason="length"), "Half an", "length", USAGE),
    "filtered": (_told("Half an", reason="content_filter"), "Half an", "content_filter", USAGE),
    "filtered at once": (_told(reason="content_filter"), "", "content_filter", USAGE),
    "a reason of its own": (_told("a", reason="whim"), "a", "other", USAGE),
}


def _refused(status: int, **headers: str) -> Manner:
    return lambda handler: handler.refuse(status, SECRET, **headers)


def _page(status: int) -> Manner:
    def manner(handler: Handler) -> None:
        handler.head(status, "text/html")
        handler.say(f"<html><body>\n\ndata: {SECRET}\n\n</body></html>")

    return manner


def _after_half(then: Callable[[Handler], None]) -> Manner:
    def manner(handler: Handler) -> None:
        handler.begin()
        handler.chunk("Half an ")
        then(handler)

    return manner


def _half_an_event(handler: Handler) -> None:
    handler.say(handler.dialect.piece("answer")[:-12])


def _says(words: bytes) -> Manner:
    return lambda handler: handler.say(words)


def _fails(*, overloaded: bool) -> Manner:
    return lambda handler: handler.say(handler.dialect.failure(SECRET, overloaded=overloaded))


def _reset(handler: Handler) -> None:
    # Close with a reset instead of an end.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def _unfinished_chunks(handler: Handler) -> None:
    blocks = [handler.dialect.opening().encode(), handler.dialect.piece("Half an ").encode()]
    _chunked(handler, blocks, end=False)


def _document(words: str) -> Manner:
    def manner(handler: Handler) -> None:
        handler.head(content_type="application/json")
        handler.say(words)

    return manner


def _whole_document(handler: Handler) -> None:
    """What a server says that does not stream."""
    handler.head(content_type="application/json")
    message = {"role": "assistant", "content": ANSWER}
    openai = {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18},
    }
    anthropic = {
        "type": "message",
        "content": [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 7, "output_tokens": 11},
    }
    handler.say(json.dumps(openai if handler.dialect is DIALECTS["openai"] else anthropic))


def _not_gzip(handler: Handler) -> None:
    handler.head(Content_Encoding="gzip")
    handler.say(SECRET)


def _endless_refusal(handler: Handler) -> None:
    handler.head(500)
    while True:
        handler.say(SECRET * 100)


def _nothing_but_hints(handler: Handler) -> None:
    while True:
        _early_hints(1000)(handler)


BROKEN = ErrorKind.BROKEN_STREAM

WRONG: dict[str, tuple[Manner, str, ErrorKind]] = {
    "400": (_refused(400), "", ErrorKind.REJECTED),
    "401": (_refused(401), "", ErrorKind.UNAUTHORIZED),
    "402": (_refused(402), "", ErrorKind.QUOTA),
    "403": (_refused(403), "", ErrorKind.UNAUTHORIZED),
    "404": (_refused(404), "", ErrorKind.UNREACHABLE),
    "408": (_refused(408), "", ErrorKind.TIMEOUT),
    "413": (_refused(413), "", ErrorKind.TOO_LONG),
    "429": (_refused(429), "", ErrorKind.RATE_LIMITED),
    "500": (_refused(500), "", ErrorKind.SERVER_ERROR),
    "503": (_refused(503), "", ErrorKind.SERVER_ERROR),
    "529": (_refused(529), "", ErrorKind.RATE_LIMITED),
    "page 200": (_page(200), "", BROKEN),
    "page 502": (_page(502), "", ErrorKind.SERVER_ERROR),
    "endless refusal": (_endless_refusal, "", ErrorKind.SERVER_ERROR),
    "a document that is no answer": (_document('{"sk-secret": 1}'), "", BROKEN),
    "half a document": (_document('{"choices": [{"sk-secret'), "", BROKEN),
    "nothing": (_says(b""), "", BROKEN),
    "informational responses without end": (_nothing_but_hints, "", BROKEN),
    "no HTTP": (_says(b"sk-secret\r\n\r\n"), "", BROKEN),
    "no gzip": (_not_gzip, "", BROKEN),
    "empty": (lambda handler: handler.head(), "", BROKEN),
    "cut": (_after_half(lambda _: None), "Half an ", BROKEN),
    "cut in an event": (_after_half(_half_an_event), "Half an ", BROKEN),
    "cut in chunks": (_unfinished_chunks, "Half an ", BROKEN),
    "reset": (_after_half(_reset), "Half an ", BROKEN),
    "no JSON": (_told("Half an ", _event(f'{{"choices": {SECRET}')), "Half an ", BROKEN),
    "no UTF-8": (_told("Half an ", b"data: \xff\n\n"), "Half an ", BROKEN),
    "nested too deep": (_told("Half an ", _event("[" * 100_000)), "Half an ", BROKEN),
    "a number for a text": (_told("Half an ", _json_text("5")), "Half an ", BROKEN),
    "a list for a text": (_told("Half an ", _json_text('["sk-secret"]')), "Half an ", BROKEN),
    "an object for a text": (_told("Half an ", _json_text('{"a": "sk-secret"}')), "Half an ", BROKEN),
    "error": (_after_half(_fails(overloaded=False)), "Half an ", ErrorKind.SERVER_ERROR),
    "overloaded": (_after_half(_fails(overloaded=True)), "Half an ", ErrorKind.RATE_LIMITED),
}


def _keeps_silent(handler: Handler) -> None:
    handler.connection.recv(1)


QUIET: dict[str, Manner] = {
    "no response": _keeps_silent,
    "no head": in_turn(_says(b"HTTP/1.1 200 OK\r\nContent-Type: text/"), _keeps_silent),
}

OPENAI_RIGHT: dict[str, tuple[Manner, str]] = {
    "an object for the choices": (
        _told("a", _event('{"choices": {"index": 0, "delta": {"content": "b"}}}'), "c"),
        "abc",
    ),
    "a second choice": (_told("a", lambda handler: handler.dialect.piece("No!", index=1), "b"), "ab"),
}
OPENAI_WRONG = {
    "error in a word": _after_half(lambda handler: handler.say(_event('{"error": "sk-secret"}')(handler))),
}

SCRIPT: list[bytes] = []
"""What the manner `script` sends, in pieces that reach the client one by one."""


def _wait_if_asked_to(handler: Handler) -> None:
    """A connection that stays open after its answer."""
    handler.close_connection = False
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    if handler.owner.requests[-1]["messages"][-1]["content"] == "Wait!":
        handler.owner.go_on.wait(10)
    body = _whole(handler).encode()
    handler.say(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))


ODD: dict[str, Manner] = {
    **{name: case[0] for cases in (RIGHT, WRONG, OPENAI_RIGHT) for name, case in cases.items()},
    **QUIET,
    **{f"OpenAI's {name}": manner for name, manner in OPENAI_WRONG.items()},
    "script": lambda handler: _chunked(handler, SCRIPT),
    "later": _refused(429, Retry_After="7"),
    "at a time": lambda handler: handler.refuse(429, SECRET, Retry_After=formatdate(time.time() + 100, usegmt=True)),
    "at a time gone by": _refused(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "some time": _refused(429, Retry_After="in a while"),
    "elsewhere": lambda handler: handler.head(307, Location=handler.owner.base_url("openai") + "/messages"),
    "kept open": _wait_if_asked_to,
}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """A server with every manner of this file."""
    odd = ProviderServer(ODD)
    yield odd
    odd.stop()


def _pool(protocol: str, base_url: str, model: str, **options: Any) -> ClientPool:
    table = {"label": "M", "provider": protocol, "base_url": base_url, "model": model, **options}
    config = ModelConfig.model_validate(table)
    return ClientPool(ModelCatalog(default="m", models={"m": config}), local_url="")


def _open(
    server: ProviderServer, protocol: str, model: str, turns: list[Turn] = QUESTION, **options: Any
) -> ChunkStream:
    return _pool(protocol, server.base_url(protocol), model, **options).open("m", turns)


class Heard(NamedTuple):
    """What became of an answer."""

    text: str
    finish_reason: str | None
    usage: Usage | None
    error: ProviderError | None


def _hear(ask: Callable[[], ChunkStream]) -> Heard:
    """Read to the end. An error that is not a ProviderError fails the test."""
    chunks: list[Chunk] = []
    reason, usage, error = None, None, None
    try:
        read(ask(), chunks.append)
    except ProviderError as failure:
        error = failure
    for chunk in chunks:
        reason, usage = chunk.finish_reason or reason, chunk.usage or usage
    return Heard("".join(chunk.text for chunk in chunks), reason, usage, error)


@pytest.mark.parametrize("counts", [(-1, 5), (5, -1), (True, 5), ("7", 5), (None, 5), (5.0, 5), (2**30, 2**30)])
def test_counts_that_can_not_be_are_none(counts: tuple[Any, Any]) -> None:
    assert believable(*counts) is None
    assert believable(10_000_000, 1_000_000) == Usage(10_000_000, 1_000_000)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("manner", RIGHT)
def test_an_answer_is_understood_whatever_else_comes(server: ProviderServer, protocol: str, manner: str) -> None:
    _, text, reason, usage = RIGHT[manner]
    if manner == "no opening" and protocol == "openai":
        usage = USAGE
    assert _hear(lambda: _open(server, protocol, manner)) == Heard(text, reason, usage, None)


@pytest.mark.parametrize("manner", OPENAI_RIGHT)
def test_an_answer_is_understood_whatever_else_comes_from_openai(server: ProviderServer, manner: str) -> None:
    assert _hear(lambda: _open(server, "openai", manner)) == Heard(OPENAI_RIGHT[manner][1], "stop", USAGE, None)


def _check_error(heard: Heard, text: str, kind: ErrorKind) -> None:
    assert heard.error is not None
    assert (heard.text, heard.error.kind) == (text, kind)
    assert SECRET not in "".join(traceback.format_exception(heard.error))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("manner", WRONG)
def test_whatever_goes_wrong_is_told_in_our_own_words(server: ProviderServer, protocol: str, manner: str) -> None:
    _, text, kind = WRONG[manner]
    _check_error(_hear(lambda: _open(server, protocol, manner)), text, kind)


@pytest.mark.parametrize("manner", OPENAI_WRONG)
def test_whatever_goes_wrong_with_openai_is_told_in_our_own_words(server: ProviderServer, manner: str) -> None:
    kind = ErrorKind.SERVER_ERROR if "error" in manner else BROKEN
    _check_error(_hear(lambda: _open(server, "openai", f"OpenAI's {manner}")), "Half an ", kind)


@pytest.mark.parametrize("interpreter", [CompletionInterpreter, MessageInterpreter])
def test_each_event_that_says_nothing_is_a_piece_without_a_word(
    interpreter: type[CompletionInterpreter] | type[MessageInterpreter],
) -> None:
    """Such pieces are counted, so that a flood of them has an end."""
    flood = "".join(f"data: {data}\n\n" for data in ("null", "[]", "5")) * 50
    assert list(Answer(interpreter(), None).feed(flood.encode())) == [Chunk()] * 150


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("manner", QUIET)
def test_an_answer_that_does_not_begin_is_not_waited_for(server: ProviderServer, protocol: str, manner: str) -> None:
    limits: dict[str, Any] = {"first_token_timeout": 0.3, "between_tokens_timeout": 0.3}
    _check_error(_hear(lambda: _open(server, protocol, manner, **limits)), "", ErrorKind.TIMEOUT)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("manner", "least", "most"),
    [("later", 7, 7), ("at a time", 90, 100), ("at a time gone by", 0, 0), ("some time", None, None)],
)
def test_a_server_says_when_to_come_back(
    server: ProviderServer, protocol: str, manner: str, least: float | None, most: float | None
) -> None:
    error = _hear(lambda: _open(server, protocol, manner)).error
    assert error is not None
    if least is None or most is None:
        assert error.retry_after is None
    else:
        assert error.retry_after is not None
        assert least <= error.retry_after <= most


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_conversation_is_not_sent_on_to_another_address(server: ProviderServer, protocol: str) -> None:
    before = len(server.requests)
    _check_error(_hear(lambda: _open(server, protocol, "elsewhere")), "", ErrorKind.UNREACHABLE)
    assert len(server.requests) == before + 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestUnreachable:
    """Servers that are not there."""

    def test_a_port_that_nobody_listens_on(self, protocol: str) -> None:
        pool = _pool(protocol, nowhere(), "whole")
        _check_error(_hear(lambda: pool.open("m", QUESTION)), "", ErrorKind.UNREACHABLE)

    def test_a_host_that_does_not_answer(self, protocol: str) -> None:
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for waiting in (first, second):  # the kernel drops a connection when the queue is full
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            pool = _pool(protocol, f"http://127.0.0.1:{full.getsockname()[1]}", "whole", connect_timeout=0.3)
            _check_error(_hear(lambda: pool.open("m", QUESTION)), "", ErrorKind.UNREACHABLE)

    def test_a_port_without_tls(self, server: ProviderServer, protocol: str) -> None:
        pool = _pool(protocol, server.base_url(protocol).replace("http:", "https:"), "whole")
        _check_error(_hear(lambda: pool.open("m", QUESTION)), "", ErrorKind.UNREACHABLE)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ProviderServer, Path]]:
    """A server behind TLS, and the certificate to trust."""
    directory = tmp_path_factory.mktemp("tls")
    certify(directory / "key.pem", directory / "certificate.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    odd = ProviderServer(ODD, tls=context)
    yield odd, directory / "certificate.pem"
    odd.stop()


@pytest.fixture(params=["plain", "encrypted"])
def any_server(
    request: pytest.FixtureRequest, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> ProviderServer:
    """A server, once without and once with TLS."""
    if request.param == "plain":
        return server
    other: ProviderServer
    other, certificate = request.getfixturevalue("encrypted")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return other


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("manner", ["no-head", "silent", "stalled"])
def test_a_reader_that_is_cancelled_closes_the_connection_at_once(
    any_server: ProviderServer, protocol: str, manner: str
) -> None:
    any_server.disconnected.clear()
    before = len(any_server.requests)
    words: Queue[str] = Queue()
    stream = _open(any_server, protocol, manner)
    reading = LOOP.submit(_listen(stream, words))
    if manner == "stalled":
        while words.get(timeout=5) != "Half an ":
            pass
    wait_for(lambda: len(any_server.requests) > before, what="it is asked")
    reading.cancel()
    assert any_server.disconnected.wait(1)
    LOOP.run(stream.aclose())


async def _listen(stream: ChunkStream, words: "Queue[str]") -> None:
    async for chunk in stream:
        words.put(chunk.text)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_that_is_left_in_the_middle_is_closed(any_server: ProviderServer, protocol: str) -> None:
    any_server.disconnected.clear()
    stream = _open(any_server, protocol, "stalled")

    async def read_half() -> None:
        async with aclosing(stream):
            async for chunk in stream:
                if chunk.text:
                    return

    LOOP.run(read_half())
    assert any_server.disconnected.wait(1)
    assert read(stream) == []


def test_a_handshake_that_does_not_end_is_left_when_nobody_wants_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pool = _pool("openai", f"https://127.0.0.1:{server.getsockname()[1]}", "whole")
        reading = LOOP.submit(_listen(pool.open("m", QUESTION), Queue()))
        connection, _ = server.accept()
        with connection:
            connection.settimeout(2)
            assert connection.recv(65536)
            reading.cancel()
            assert connection.recv(65536) == b""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_that_is_closed_too_late_hits_no_other(server: ProviderServer, protocol: str) -> None:
    server.go_on.clear()
    pool = _pool(protocol, server.base_url(protocol), "kept open")
    first = pool.open("m", QUESTION)
    assert _hear(lambda: first).text == ANSWER
    before = len(server.requests)
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(_hear, lambda: pool.open("m", [Turn("user", "Wait!")]))
        wait_for(lambda: len(server.requests) > before, what="it is asked")
        LOOP.run(first.aclose())
        server.go_on.set()
        assert second.result(5) == Heard(ANSWER, "stop", USAGE, None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_closed_before_it_is_asked_is_not_asked(server: ProviderServer, protocol: str) -> None:
    before = len(server.requests)
    stream = _open(server, protocol, "whole")
    LOOP.run(stream.aclose())
    assert read(stream) == []
    assert len(server.requests) == before


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_network_may_cut_the_stream_anywhere(server: ProviderServer, protocol: str) -> None:
    pool = _pool(protocol, server.base_url(protocol), "script")
    dialect = DIALECTS[protocol]
    words = dialect.opening() + ": ping\n\n" + dialect.thought("Hm.") + "".join(map(dialect.piece, pieces(ANSWER, 5)))
    words += dialect.closing("stop", usage=True)

    @settings(max_examples=60, deadline=None)
    @given(ends=st.sampled_from(["\n", "\r\n", "\r"]), places=st.sets(st.integers(0, len(words) * 2), max_size=40))
    def check(ends: str, places: set[int]) -> None:
        body = words.replace("\n", ends).encode()
        cuts = [0, *sorted(places), len(body)]
        SCRIPT[:] = [body[start:end] for start, end in pairwise(cuts)]
        assert _hear(lambda: pool.open("m", QUESTION)) == Heard(ANSWER, "stop", USAGE, None)

    check()


def test_openai_gets_the_turns_as_they_are(server: ProviderServer) -> None:
    turns = [Turn("system", "Be kind."), Turn("user", " Why? "), Turn("assistant", "Half an")]
    _hear(lambda: _open(server, "openai", "whole", turns, max_tokens=100, temperature=0.5))
    asked = server.requests[-1]
    assert asked["messages"] == [{"role": turn.role, "content": turn.text} for turn in turns]
    assert (asked["max_tokens"], asked["temperature"], asked["stream"]) == (100, 0.5, True)
    assert asked["stream_options"] == {"include_usage": True}


def test_openai_itself_gets_the_limits_new_name(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.base_url("anthropic"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    pool = _pool("openai", "http://api.openai.com/v1", "whole", max_tokens=100)
    assert _hear(lambda: pool.open("m", QUESTION)).text == ANSWER
    asked = server.requests[-1]
    assert asked["path"] == "http://api.openai.com/v1/chat/completions"
    assert asked["max_completion_tokens"] == 100
    assert "max_tokens" not in asked


class TestAnthropicConversations:
    """Turns as the Messages API takes them."""

    def test_the_systems_text_is_apart(self, server: ProviderServer) -> None:
        turns = [Turn("system", "Be kind."), *QUESTION]
        _hear(lambda: _open(server, "anthropic", "whole", turns, max_tokens=100))
        asked = server.requests[-1]
        assert (asked["system"], asked["messages"]) == ("Be kind.", [{"role": "user", "content": "Why?"}])
        assert (asked["max_tokens"], asked["stream"]) == (100, True)
        assert "temperature" not in asked

    def test_no_system_text_is_not_sent(self, server: ProviderServer) -> None:
        _hear(lambda: _open(server, "anthropic", "whole", [Turn("system", " "), *QUESTION], temperature=0.5))
        assert "system" not in server.requests[-1]
        assert server.requests[-1]["temperature"] == 0.5

    def test_turns_of_one_role_are_joined_and_blank_ones_left_out(self, server: ProviderServer) -> None:
        turns = [Turn("user", "A"), Turn("assistant", " \n"), Turn("user", "B"), Turn("assistant", "C "), *QUESTION]
        _hear(lambda: _open(server, "anthropic", "whole", turns))
        assert [(turn["role"], turn["content"]) for turn in server.requests[-1]["messages"]] == [
            ("user", "A\n\nB"),
            ("assistant", "C "),
            ("user", "Why?"),
        ]


class TestGoingOn:
    """What a server makes of an answer that it is to go on with, in any protocol."""

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize(
        ("said", "sent", "answer", "rest"),
        [
            ("Half an ", "Half an", [" answer"], "answer"),
            ("Half an ", "Half an", ["answer", " that", " ends."], "answer that ends."),
            ("Half an \n\n", "Half an", [" ", "\n", "\nanswer"], "answer"),
            ("Half an\n", "Half an", ["\n\nanswer"], "\nanswer"),
            ("Half an\n", "Half an", [" answer"], " answer"),
            ("Half an", "Half an", [" answer"], " answer"),
            ("Half an ", "Half an", [" ", " ", "answer"], " answer"),
        ],
    )
    def test_whitespace_that_is_not_sent_is_neither_doubled_nor_lost(
        self, server: ProviderServer, protocol: str, said: str, sent: str, answer: list[str], rest: str
    ) -> None:
        SCRIPT[:] = _script(protocol, answer)
        turns = [*QUESTION, Turn("assistant", said)]
        assert _hear(lambda: _open(server, protocol, "script", turns)).text == rest
        assert server.requests[-1]["messages"][-1] == {"role": "assistant", "content": sent}

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_blank_answer_is_none_to_go_on_with(self, server: ProviderServer, protocol: str) -> None:
        SCRIPT[:] = _script(protocol, ["\n", "\nanswer"])
        turns = [*QUESTION, Turn("assistant", " \n")]
        assert _hear(lambda: _open(server, protocol, "script", turns)).text == "\n\nanswer"
        assert [turn["role"] for turn in server.requests[-1]["messages"]] == ["user"]

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_an_answer_can_be_gone_on_with_from_anywhere(self, server: ProviderServer, protocol: str) -> None:
        pool = _pool(protocol, server.base_url(protocol), "script")
        text = st.text(alphabet="ab \n\t\u3000", min_size=1, max_size=20)

        @settings(max_examples=60, deadline=None)
        @given(text=text, place=st.integers(1, 20), sizes=st.lists(st.integers(1, 3), min_size=20, max_size=20))
        def check(text: str, place: int, sizes: list[int]) -> None:
            said = text[:place]
            left = text[len(said.rstrip()) :]
            parts = []
            for size in sizes:
                parts.append(left[:size])
                left = left[size:]
            SCRIPT[:] = _script(protocol, parts)
            assert said + _hear(lambda: pool.open("m", [*QUESTION, Turn("assistant", said)])).text == text

        check()


def _script(protocol: str, texts: list[str]) -> list[bytes]:
    dialect = DIALECTS[protocol]
    words = [dialect.opening(), *map(dialect.piece, texts), dialect.closing("stop", usage=True)]
    return [word.encode() for word in words]


class TestKeys:
    """What a server gets to see of keys."""

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_the_key_is_the_one_that_the_table_names(
        self, server: ProviderServer, protocol: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOME_KEY", "sk-ours\n")
        _hear(lambda: _open(server, protocol, "whole", api_key_env="SOME_KEY"))
        asked = server.requests[-1]
        assert asked["authorization"] == "Bearer sk-ours"
        assert asked["key"] == ("sk-ours" if protocol == "anthropic" else None)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_no_other_key_of_the_environment_is_sent(
        self, server: ProviderServer, protocol: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
            monkeypatch.setenv(name, "sk-developer")
        _hear(lambda: _open(server, protocol, "whole"))
        assert "sk-developer" not in json.dumps(server.requests[-1])

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("key", ["sk-schlüssel", "sk-\x01", "sk-\nkey"])
    def test_a_key_that_can_be_none_is_not_sent(
        self, server: ProviderServer, protocol: str, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOME_KEY", key)
        before = len(server.requests)
        pool = _pool(protocol, server.base_url(protocol), "whole", api_key_env="SOME_KEY")
        pool.warm()
        error = _hear(lambda: pool.open("m", QUESTION)).error
        assert error is not None
        assert (error.kind, error.log_detail) == (
            ErrorKind.MISCONFIGURED,
            "SOME_KEY holds characters that no key has",
        )
        assert len(server.requests) == before

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("key", [None, "", " \n"])
    def test_a_key_that_is_missing_is_named_and_nothing_is_asked(
        self, server: ProviderServer, protocol: str, key: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SOME_KEY", raising=False)
        if key is not None:
            monkeypatch.setenv("SOME_KEY", key)
        before = len(server.requests)
        pool = _pool(protocol, server.base_url(protocol), "whole", api_key_env="SOME_KEY")
        pool.warm()
        error = _hear(lambda: pool.open("m", QUESTION)).error
        assert error is not None
        assert (error.kind, error.log_detail) == (ErrorKind.MISSING_KEY, "SOME_KEY is not set")
        assert not pool.describe()["models"][0]["available"]
        assert len(server.requests) == before
        monkeypatch.setenv("SOME_KEY", "sk-late")
        assert _hear(lambda: pool.open("m", QUESTION)).text == ANSWER

    def test_azure_sees_the_key_in_its_own_header(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOME_KEY", "k")
        config = ModelConfig(
            label="M",
            provider="openai",
            base_url=HttpUrl("https://r.openai.azure.com/openai/v1"),
            model="m",
            api_key_env="SOME_KEY",
        )
        assert make(config, str(config.base_url), "").headers == {"Authorization": "Bearer k", "api-key": "k"}


def test_a_web_page_is_told_in_words_for_operators(server: ProviderServer) -> None:
    error = _hear(lambda: _open(server, "openai", "page 200")).error
    assert error is not None
    assert error.log_detail == "answered with a web page; is base_url right?"
    assert "web page" in (_hear(lambda: _open(server, "openai", "page 502")).error or error).provider_message


@pytest.mark.parametrize("piece", [b":", b": ping\n\n", b"event: ping\ndata: {}\n\n", b'data: {"choices": []}\n\n'])
def test_whatever_comes_is_a_sign_of_life(piece: bytes) -> None:
    assert list(Answer(CompletionInterpreter(), None).feed(piece)) == [Chunk()]


def test_only_who_asks_a_model_pays_for_its_client() -> None:
    program = """
import sys
from core.llm.client_pool import ClientPool
from core.llm.catalog import ModelCatalog
from core.llm.model_config import ModelConfig
import core.runtime
loaded = lambda: sorted({"aiohttp", "anthropic", "httpx2", "openai", "uvloop"} & set(sys.modules))
table = dict(label="M", model="m", base_url="http://127.0.0.1:1")
for provider in ("openai", "anthropic"):
    pool = ClientPool(ModelCatalog(default="m", models={"m": ModelConfig(provider=provider, **table)}), "")
    pool.describe()
    print(loaded())
    pool.warm()
print(loaded())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[:3] == ["[]", "['aiohttp']", "['aiohttp']"]
