"""A real HTTP server that speaks the OpenAI protocol and misbehaves the way a model's name asks for."""

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "Grüße aus Łódź — 你好, wörld! 🎉🎉 The end."
STORY = " ".join(f"{number}. Grüße Nr {number * 7919 % 1000:03} 🎉." for number in range(1, 41))
"""A longer answer, in which no part that is long enough to be taken for a repetition is one."""


class ProviderServer:
    """The server. It remembers what it was asked, and can hold an answer back until it is let go on."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.go_on = threading.Event()
        """What the model `paused` waits for in the middle of its answer."""
        self.chance = random.Random(0)
        """What decides when a story is told badly."""
        self.disconnected = threading.Event()
        """Set when a client has closed the connection in the middle of an answer."""
        provider = self

        class Handler(_Handler):
            owner = provider

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def models_toml(self) -> str:
        """A models.toml with a table for each manner, and one for a server that is not there."""
        tables = [_table(name, self.url) + EXTRAS.get(name, "") for name in MANNERS]
        return "\n".join(['default = "good"', 'system_prompt = "Be kind."', *tables, _table("away", _nowhere())])


def _table(name: str, url: str) -> str:
    return f"""
[models.{name}]
label = "{name}"
provider = "openai"
base_url = "{url}"
model = "{name}"
context_tokens = 600
max_tokens = 100
first_token_timeout = 1.0
between_tokens_timeout = 0.6
connect_timeout = 0.5
"""


def _nowhere() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    owner: ProviderServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.owner.requests.append({**body, "authorization": self.headers.get("Authorization")})
        try:
            MANNERS[body["model"]](self)
        except (BrokenPipeError, ConnectionResetError):
            self.owner.disconnected.set()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def begin(self, status: int = 200, content_type: str = "text/event-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Connection", "close")
        self.end_headers()

    def say(self, line: str) -> None:
        self.wfile.write(line.encode())
        self.wfile.flush()

    def chunk(self, **delta: Any) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        self.say(f"data: {json.dumps(_chunk(choices=[choice]))}\n\n")

    def conclude(self, reason: str = "stop") -> None:
        choice = {"index": 0, "delta": {}, "finish_reason": reason}
        self.say(f"data: {json.dumps(_chunk(choices=[choice]))}\n\n")
        usage = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}
        self.say(f"data: {json.dumps(_chunk(choices=[], usage=usage))}\n\n")
        self.say("data: [DONE]\n\n")

    def refuse(self, status: int, message: str) -> None:
        self.begin(status, "application/json")
        self.say(json.dumps({"error": {"message": message, "code": status}}))


def _chunk(**more: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **more}


def pieces(text: str, least: int = 1) -> Iterator[str]:
    """An answer in pieces of one to three characters (or from `least` on), as tokens come."""
    at = 0
    size = 0
    while at < len(text):
        yield text[at : at + least + size]
        at += least + size
        size = (size + 1) % 3


def _good(handler: _Handler) -> None:
    handler.begin()
    handler.say(": a comment\n\n")
    handler.chunk(role="assistant", content=None)
    for piece in pieces(ANSWER):
        handler.chunk(content=piece)
    handler.conclude()


def _paused(handler: _Handler) -> None:
    handler.begin()
    handler.chunk(content="Wait")
    while not handler.owner.go_on.wait(0.1):
        handler.chunk(content=".")  # also finds out whether the other side is still there
    handler.chunk(content=" for it")
    handler.conclude()


def _silent(handler: _Handler) -> None:
    handler.begin()
    _say_nothing_more(handler)


def _stalled(handler: _Handler) -> None:
    handler.begin()
    handler.chunk(content="Half an ")
    _say_nothing_more(handler)


def _say_nothing_more(handler: _Handler) -> None:
    if handler.connection.recv(1) == b"":
        handler.owner.disconnected.set()


def _cut(handler: _Handler) -> None:
    handler.begin()
    handler.chunk(content="Half an ")


def _garbled(handler: _Handler) -> None:
    handler.begin()
    handler.chunk(content="Half an ")
    handler.say('data: {"choices": [{"delta": \n\n')


def _error_in_stream(handler: _Handler) -> None:
    handler.begin()
    handler.chunk(content="Half an ")
    handler.say('data: {"error": {"message": "sk-secret: out of memory", "code": 500}}\n\n')


def _echo_length(handler: _Handler) -> None:
    handler.begin()
    handler.chunk(content=str(len(handler.owner.requests[-1]["messages"])))
    handler.conclude("length")


HALF = 20
"""Characters of the answer that come before a model breaks off."""


def _said(handler: _Handler) -> str:
    """What the conversation says that the model has answered so far."""
    turns = handler.owner.requests[-1]["messages"]
    if turns[-1]["role"] == "assistant":
        return str(turns[-1]["content"])
    asked_to_go_on = len(turns) > 1 and turns[-2]["role"] == "assistant" and "broke off" in turns[-1]["content"]
    return str(turns[-2]["content"]) if asked_to_go_on else ""


def _say_from(handler: _Handler, start: int, end: int | None = None) -> None:
    handler.begin()
    for piece in pieces(ANSWER[start:end]):
        handler.chunk(content=piece)


def _breaks_off(handler: _Handler, repeat: int, then: Callable[[_Handler], None]) -> None:
    """Half the answer, then trouble; asked to go on, the rest, after a repetition."""
    said = _said(handler)
    if not said:
        _say_from(handler, 0, HALF)
        then(handler)
        return
    _say_from(handler, len(said) - repeat)
    handler.conclude()


def _only_begins(handler: _Handler) -> None:
    """Half the answer, and after that nothing but errors."""
    if _said(handler):
        handler.refuse(500, "internal")
    else:
        _say_from(handler, 0, HALF)


def _goes_on(handler: _Handler) -> None:
    _say_from(handler, len(_said(handler)))
    handler.conclude()


PAUSE = 0.015
"""Seconds between two pieces of a story."""
REPEATED = 25
"""Characters that a story repeats when it is asked to go on, if there are as many."""


def _tell(handler: _Handler, repeat: int = 0, cuts: float = 0.0) -> None:
    """The story, slowly, from wherever it broke off, with a chance that it breaks off once."""
    said = _said(handler)
    repeat = repeat if len(said) >= repeat else 0
    end = len(STORY)
    if not said and handler.owner.chance.random() < cuts:
        end = handler.owner.chance.randrange(len(STORY))
    handler.begin()
    handler.chunk(role="assistant", content="")
    for piece in pieces(STORY[len(said) - repeat : end], least=4):
        handler.chunk(content=piece)
        time.sleep(PAUSE)
    if end == len(STORY):
        handler.conclude()


def _tell_or_fail(handler: _Handler) -> None:
    """The story, if the server feels like it."""
    if handler.owner.chance.random() < 0.4:
        handler.refuse(503, "overloaded")
    else:
        _tell(handler, cuts=0.3)


def _nothing(_: _Handler) -> None:
    """The connection just ends."""


EXTRAS = {
    "prefilled-cut": "prefill = true",
    "prefilled-stalled": "prefill = true",
    "falls-back": 'fallback = ["unauthorized", "good"]',
    "falls-back-midway": 'fallback = ["goes-on"]',
    "one-at-a-time": "max_concurrency = 1",
    "story": "prefill = true",
    "unreliable-story": 'prefill = true\nfallback = ["story", "repeated-story"]',
}

MANNERS: dict[str, Callable[[_Handler], None]] = {
    "good": _good,
    "paused": _paused,
    "silent": _silent,
    "stalled": _stalled,
    "cut": _cut,
    "garbled": _garbled,
    "error-in-stream": _error_in_stream,
    "echo-length": _echo_length,
    "goes-on": _goes_on,
    "prefilled-cut": lambda handler: _breaks_off(handler, 0, _nothing),
    "prefilled-stalled": lambda handler: _breaks_off(handler, 0, _say_nothing_more),
    "repeating-cut": lambda handler: _breaks_off(handler, 12, _nothing),
    "falls-back": lambda handler: handler.refuse(503, "overloaded"),
    "falls-back-midway": _only_begins,
    "one-at-a-time": _paused,
    "story": lambda handler: _tell(handler, cuts=0.2),
    "repeated-story": lambda handler: _tell(handler, repeat=REPEATED, cuts=0.2),
    "unreliable-story": _tell_or_fail,
    "unauthorized": lambda handler: handler.refuse(401, "Incorrect API key provided: sk-secret"),
    "rate-limited": lambda handler: handler.refuse(429, "slow down"),
    "rejected": lambda handler: handler.refuse(400, "the context is too long"),
    "broken": lambda handler: handler.refuse(500, "internal"),
}
