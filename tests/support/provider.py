"""A real HTTP server that speaks the models' wire protocols and misbehaves the way a model's name asks for."""

import json
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.dialects import DIALECTS, Dialect

ANSWER = "Grüße aus Łódź — 你好, wörld! 🎉🎉 The end."
THOUGHT = "Hmm — die Łódź-Frage 🤔: first this, then that."
STORY = " ".join(f"{number}. Grüße Nr {number * 7919 % 1000:03} 🎉." for number in range(1, 41))
"""A longer answer, in which no part that is long enough to be taken for a repetition is one."""


class ProviderServer:
    """The server. It remembers what it was asked, and can hold an answer back until it is let go on.

    It knows the manners below, and any more that it is given.
    """

    def __init__(
        self,
        more: "Mapping[str, Manner] | None" = None,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.manners = {**MANNERS, **(more or {})}
        self.requests: list[dict[str, Any]] = []
        self.go_on = threading.Event()
        """What the model `paused` waits for in the middle of its answer."""
        self.chance = random.Random(0)
        """What decides when a story is told badly."""
        self.disconnected = threading.Event()
        """Set when a client has closed the connection in the middle of an answer."""
        provider = self

        class OwnHandler(Handler):
            owner = provider

        self._server = ThreadingHTTPServer((address, 0), OwnHandler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._address = f"http{'s' if tls else ''}://{address}:{self._server.server_address[1]}"
        self.url = self.base_url("openai")
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def base_url(self, provider: str) -> str:
        """What models.toml calls the server, for one of the protocols."""
        return self._address + BASE_PATHS[provider]

    def models_toml(self, provider: str = "openai") -> str:
        """A models.toml with a table for each manner, and one for a server that is not there."""
        tables = [_table(name, provider, self.base_url(provider)) + EXTRAS.get(name, "") for name in MANNERS]
        tables.append(_table("away", provider, nowhere() + BASE_PATHS[provider]))
        return "\n".join(['default = "good"', 'system_prompt = "Be kind."', 'currency = "EUR"', *tables])


BASE_PATHS = {"openai": "/v1", "anthropic": ""}


def _table(name: str, provider: str, base_url: str) -> str:
    return f"""
[models.{name}]
label = "{name}"
provider = "{provider}"
base_url = "{base_url}"
model = "{name}"
context_tokens = 600
max_tokens = 100
first_token_timeout = 1.0
between_tokens_timeout = 0.6
connect_timeout = 0.5
"""


def nowhere() -> str:
    """The address of a server that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers one question, in the words that a manner chooses and the protocol that the question came in."""

    owner: ProviderServer
    protocol_version = "HTTP/1.1"
    dialect: Dialect

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        self.dialect = next(dialect for dialect in DIALECTS.values() if path.endswith(dialect.path))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = {"path": self.path, "authorization": self.headers["Authorization"], "key": self.headers["X-Api-Key"]}
        self.owner.requests.append({**body, **told, "traceparent": self.headers["traceparent"]})
        self.close_connection = True
        try:
            self.owner.manners[body["model"]](self)
        except OSError:  # the other side has gone, with or without TLS
            self.owner.disconnected.set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def head(self, status: int = 200, content_type: str = "text/event-stream", **headers: str) -> None:
        """Begin a response. Unless a header says otherwise, it ends when the connection does."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def say(self, words: str | bytes) -> None:
        """Anything at all."""
        self.wfile.write(words.encode() if isinstance(words, str) else words)
        self.wfile.flush()

    def begin(self) -> None:
        """Begin an answer."""
        self.head()
        self.say(self.dialect.opening())

    def chunk(self, text: str | None) -> None:
        """A piece of the answer."""
        self.say(self.dialect.piece(text))

    def think(self, text: str) -> None:
        """A piece of what comes before an answer, or between its parts."""
        self.say(self.dialect.thinking(text))

    def conclude(self, reason: str = "stop", *, usage: bool = True) -> None:
        """End the answer."""
        self.say(self.dialect.closing(reason, usage=usage))

    def refuse(self, status: int, message: str, **headers: str) -> None:
        """Answer with an error instead."""
        self.head(status, "application/json", **headers)
        self.say(json.dumps({"type": "error", "error": {"type": "api_error", "message": message, "code": status}}))


Manner = Callable[[Handler], None]


def in_turn(*steps: Callable[[Handler], object]) -> Manner:
    """One step after the other."""

    def manner(handler: Handler) -> None:
        for step in steps:
            step(handler)

    return manner


def pieces(text: str, least: int = 1) -> Iterator[str]:
    """An answer in pieces of one to three characters (or from `least` on), as tokens come."""
    at = 0
    size = 0
    while at < len(text):
        yield text[at : at + least + size]
        at += least + size
        size = (size + 1) % 3


def _good(handler: Handler) -> None:
    handler.begin()
    handler.say(": a comment\n\n")
    for piece in pieces(ANSWER):
        handler.chunk(piece)
    handler.conclude()


def _paused(handler: Handler) -> None:
    handler.begin()
    handler.chunk("Wait")
    while not handler.owner.go_on.wait(0.1):
        handler.chunk(".")  # also finds out whether the other side is still there
    handler.chunk(" for it")
    handler.conclude()


def _quiet(handler: Handler) -> None:
    handler.begin()
    handler.chunk("Wait")
    handler.owner.go_on.wait(20)
    handler.chunk(" for it")
    handler.conclude()


def _silent(handler: Handler) -> None:
    handler.begin()
    _say_nothing_more(handler)


def _stalled(handler: Handler) -> None:
    handler.begin()
    handler.chunk("Half an ")
    _say_nothing_more(handler)


def _say_nothing_more(handler: Handler) -> None:
    if handler.connection.recv(1) == b"":
        handler.owner.disconnected.set()


def _cut(handler: Handler) -> None:
    handler.begin()
    handler.chunk("Half an ")


def _garbled(handler: Handler) -> None:
    handler.begin()
    handler.chunk("Half an ")
    handler.say(handler.dialect.event('{"choices": [{"delta": '))


def _error_in_stream(handler: Handler) -> None:
    handler.begin()
    handler.chunk("Half an ")
    handler.say(handler.dialect.failure("sk-secret: out of memory", overloaded=False))


def _echo_length(handler: Handler) -> None:
    handler.begin()
    handler.chunk(str(len(handler.owner.requests[-1]["messages"])))
    handler.conclude("length")


HALF = 20
"""Characters of the answer that come before a model breaks off."""


def _said(handler: Handler) -> str:
    """What the conversation says that the model has answered so far."""
    turns = handler.owner.requests[-1]["messages"]
    if turns[-1]["role"] == "assistant":
        return str(turns[-1]["content"])
    asked_to_go_on = len(turns) > 1 and turns[-2]["role"] == "assistant" and "broke off" in turns[-1]["content"]
    return str(turns[-2]["content"]) if asked_to_go_on else ""


def _say_from(handler: Handler, start: int, end: int | None = None) -> None:
    handler.begin()
    for piece in pieces(ANSWER[start:end]):
        handler.chunk(piece)


def _breaks_off(handler: Handler, repeat: int, then: Manner) -> None:
    """Half the answer, then trouble; asked to go on, the rest, after a repetition."""
    said = _said(handler)
    if not said:
        _say_from(handler, 0, HALF)
        then(handler)
        return
    _say_from(handler, len(said) - repeat)
    handler.conclude()


def _only_begins(handler: Handler) -> None:
    """Half the answer, and after that nothing but errors."""
    if _said(handler):
        handler.refuse(500, "internal")
    else:
        _say_from(handler, 0, HALF)


def _goes_on(handler: Handler) -> None:
    _say_from(handler, len(_said(handler)))
    handler.conclude()


def _end_and(handler: Handler, then: Manner) -> None:
    """The whole answer and its reason, but not the stream's last event; and something else."""
    _say_from(handler, 0)
    handler.say(handler.dialect.closing("stop", usage=True).rsplit("\n\n", 2)[0] + "\n\n")
    then(handler)


def _lingers(handler: Handler) -> None:
    _end_and(handler, _say_nothing_more)


def _reset(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


PAUSE = 0.015
"""Seconds between two pieces of a story."""
REPEATED = 25
"""Characters that a story repeats when it is asked to go on, if there are as many."""


def _tell(handler: Handler, repeat: int = 0, cuts: float = 0.0) -> None:
    """The story, slowly, from wherever it broke off, with a chance that it breaks off once."""
    said = _said(handler)
    repeat = repeat if len(said) >= repeat else 0
    end = len(STORY)
    if not said and handler.owner.chance.random() < cuts:
        end = handler.owner.chance.randrange(1, len(STORY))
    handler.begin()
    for piece in pieces(STORY[len(said) - repeat : end], least=4):
        handler.chunk(piece)
        time.sleep(PAUSE)
    if end == len(STORY):
        handler.conclude()


def _tell_or_fail(handler: Handler) -> None:
    """The story, if the server feels like it."""
    if handler.owner.chance.random() < 0.4:
        handler.refuse(503, "overloaded")
    else:
        _tell(handler, cuts=0.3)


def _thinks(handler: Handler, thoughts: str = THOUGHT) -> None:
    handler.begin()
    for piece in pieces(thoughts):
        handler.think(piece)


def _thinks_and(handler: Handler, then: Manner) -> None:
    _thinks(handler)
    then(handler)


def _answers(handler: Handler) -> None:
    for piece in pieces(ANSWER):
        handler.chunk(piece)
    handler.conclude()


def _thinks_slowly(handler: Handler) -> None:
    """Until it is let go on; asked again, it thinks again."""
    handler.begin()
    handler.think("Hmm")
    while not handler.owner.go_on.wait(0.1):
        handler.think(".")
    _answers(handler)


def _thinks_between(handler: Handler) -> None:
    handler.begin()
    for words in (ANSWER[:HALF], ANSWER[HALF:]):
        handler.think("So. ")
        handler.chunk(words)
    handler.conclude()


def _thinks_then_stalls(handler: Handler) -> None:
    """Half the answer after a thought, and then silence; asked to go on, another thought and the rest."""
    said = _said(handler)
    _thinks(handler, "Again." if said else THOUGHT)
    if not said:
        handler.chunk(ANSWER[:HALF])
        _say_nothing_more(handler)
        return
    handler.chunk(ANSWER[len(said) :])
    handler.conclude()


def _thinks_aloud(handler: Handler) -> None:
    """About the question's own words, and breaks off."""
    handler.begin()
    handler.think(str(handler.owner.requests[-1]["messages"][-1]["content"]))


def _breathes(handler: Handler) -> None:
    """Signs of life for longer than any of the table's limits, then a thought, more of them, and the answer."""
    handler.begin()
    for thought in ("Hmm.", "Well."):
        for _ in range(6):
            handler.chunk(None)
            time.sleep(0.3)
        handler.think(thought)
    _answers(handler)


def _tell_after_a_thought(handler: Handler) -> None:
    """The story, after as much time again for thoughts."""
    said = _said(handler)  # before another question comes
    handler.begin()
    for piece in pieces(THOUGHT):
        handler.think(piece)
        time.sleep(2 * PAUSE)
    for piece in pieces(STORY[len(said) :], least=4):
        handler.chunk(piece)
        time.sleep(PAUSE)
    handler.conclude()


def _concludes(handler: Handler, reason: str, text: str = "") -> None:
    handler.begin()
    if text:
        handler.chunk(text)
    handler.conclude(reason)


def _nothing(_: Handler) -> None:
    """The connection just ends."""


EXTRAS = {
    "good": "input_price = 1.5\noutput_price = 2.25",
    "prefilled-cut": "prefill = true",
    "prefilled-stalled": "prefill = true",
    "falls-back": 'fallback = ["unauthorized", "good"]',
    "falls-back-midway": 'fallback = ["goes-on"]',
    "falls-back-to-busy": 'fallback = ["one-at-a-time"]',
    "one-at-a-time": "max_concurrency = 1",
    "story": "prefill = true",
    "thoughtful-story": "prefill = true",
    "thinks-then-stalls": "prefill = true",
    "thinks-then-falls-back": 'fallback = ["thinks"]',
    "blank-then-falls-back": 'fallback = ["good"]',
    "filtered-then-falls-back": 'fallback = ["good"]',
    "unreliable-story": 'prefill = true\nfallback = ["story", "repeated-story"]',
}

MANNERS: dict[str, Manner] = {
    "good": _good,
    "paused": _paused,
    "quiet": _quiet,
    "silent": _silent,
    "stalled": _stalled,
    "cut": _cut,
    "garbled": _garbled,
    "error-in-stream": _error_in_stream,
    "echo-length": _echo_length,
    "goes-on": _goes_on,
    "lingers": _lingers,
    "cut-after-its-end": lambda handler: _end_and(handler, _reset),
    "no-head": _say_nothing_more,
    "falls-back-to-busy": lambda handler: handler.refuse(503, "overloaded"),
    "prefilled-cut": lambda handler: _breaks_off(handler, 0, _nothing),
    "prefilled-stalled": lambda handler: _breaks_off(handler, 0, _say_nothing_more),
    "repeating-cut": lambda handler: _breaks_off(handler, 12, _nothing),
    "falls-back": lambda handler: handler.refuse(503, "overloaded"),
    "falls-back-midway": _only_begins,
    "one-at-a-time": _paused,
    "story": lambda handler: _tell(handler, cuts=0.2),
    "repeated-story": lambda handler: _tell(handler, repeat=REPEATED, cuts=0.2),
    "unreliable-story": _tell_or_fail,
    "thoughtful-story": _tell_after_a_thought,
    "thinks": lambda handler: _thinks_and(handler, _answers),
    "thinks-slowly": _thinks_slowly,
    "thinks-between": _thinks_between,
    "thinks-then-stalls": _thinks_then_stalls,
    "thinks-then-falls-back": lambda handler: _thinks_and(handler, lambda one: one.conclude("stop")),
    "thinks-then-breaks": lambda handler: _thinks_and(handler, _nothing),
    "thinks-then-is-silent": lambda handler: _thinks_and(handler, _say_nothing_more),
    "only-thinks": lambda handler: _thinks_and(handler, lambda one: one.conclude("stop")),
    "thinks-too-long": lambda handler: _thinks_and(handler, lambda one: one.conclude("length")),
    "thinks-aloud": _thinks_aloud,
    "breathes": _breathes,
    "empty": lambda handler: _concludes(handler, "stop"),
    "blank": lambda handler: _concludes(handler, "stop", " \n\u200b\u00a0\n"),
    "blank-then-falls-back": lambda handler: _concludes(handler, "stop", "\n\n"),
    "no-room": lambda handler: _concludes(handler, "length"),
    "filtered": lambda handler: _concludes(handler, "content_filter"),
    "filtered-then-falls-back": lambda handler: _concludes(handler, "content_filter"),
    "wants-a-tool": lambda handler: _concludes(handler, "tool_calls"),
    "ends-oddly": lambda handler: _concludes(handler, "not_invented_yet"),
    "filtered-midway": lambda handler: _concludes(handler, "content_filter", "Half an "),
    "wants-a-tool-midway": lambda handler: _concludes(handler, "tool_calls", "Let me look."),
    "cut-short": lambda handler: _concludes(handler, "length", "Half an "),
    "ends-oddly-midway": lambda handler: _concludes(handler, "not_invented_yet", "Half an "),
    "unauthorized": lambda handler: handler.refuse(401, "Incorrect API key provided: sk-secret"),
    "rate-limited": lambda handler: handler.refuse(429, "slow down"),
    "rejected": lambda handler: handler.refuse(400, "it does not please"),
    "broken": lambda handler: handler.refuse(500, "internal"),
}
