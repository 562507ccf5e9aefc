"""A small HTTP server that plays one session's API to a real page, for what no real model can be made to say when a
test wants it. Its messages follow from its events as the real server's do."""

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page

SILENCE = 0.05
"""Seconds after which a reader of events looks whether there are more."""
MODEL = {"name": "deep", "label": "Deep", "provider": "openai", "context_tokens": 8000, "available": True}
SESSION = {
    "session_id": "s",
    "anonymous": True,
    "model": "deep",
    "version": 1,
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2099-01-01T00:00:00Z",
}
CHAT = ("chat", "chat/regenerate", "chat/continue", "chat/sse*")
OTHER = {**MODEL, "name": "plain", "label": "Plain"}


class Stage:
    """The server. `play` puts a page onto it; then a test says what happens."""

    def __init__(self) -> None:
        self.models = [dict(MODEL), dict(OTHER)]
        self.session: dict[str, Any] = dict(SESSION)
        self.messages: list[dict[str, Any]] = []
        self.waiting: list[dict[str, Any]] = []
        """The questions that wait for their turn."""
        self.asked: list[dict[str, Any]] = []
        """The bodies of questions."""
        self.refuses = False
        """Whether it refuses to tell them."""
        self._log: list[tuple[str, dict[str, Any]]] = []
        self._generation = ""
        self._over = threading.Event()
        stage = self

        class OwnHandler(_Handler):
            owner = stage

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), OwnHandler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def play(self, page: Page) -> None:
        """Let the page talk to this server, from a reload on."""
        root = f"http://127.0.0.1:{self._server.server_address[1]}"
        for path in ("session/current", "session/messages", "session/model", "session/queue", *CHAT, "config/models"):
            page.route(f"**/{path}", lambda route: route.continue_(url=root + _path(route.request.url)))
        page.context.add_cookies([{"name": "switchboard", "value": "s.secret", "url": page.url}])
        page.reload()

    def switch(self, model: str) -> None:
        """Another model answers from now on."""
        self.session |= {"model": model, "version": self.session["version"] + 1}
        self._log.append(("model", {"model": model, "version": self.session["version"]}))

    def begin(self, question: str = "Why?") -> str:
        """An answer is on its way; returns its id."""
        self.messages.append(
            _message(f"question-{len(self.messages)}", "user", text=question, state="complete", parent=self._leaf())
        )
        return self._begin(f"answer-{len(self.messages) - 1}")

    def begin_again(self, message_id: str) -> str:
        """Another answer beside this one is on its way."""
        self.messages = self.messages[: self._index(message_id)]
        return self._begin(f"{message_id}-again", siblings=[message_id, f"{message_id}-again"])

    def go_on(self, message_id: str) -> str:
        """More of this answer is on its way."""
        message = self.messages[self._index(message_id)]
        message |= {"state": "streaming", "finish_reason": None}
        return self._announce(f"{message_id}-more", message)

    def _begin(self, answer: str, **fields: Any) -> str:
        model = self.session["model"]
        message = _message(answer, "assistant", model=model, state="streaming", parent=self._leaf(), **fields)
        self.messages.append(message)
        return self._announce(answer, message)

    def _announce(self, generation: str, message: dict[str, Any]) -> str:
        self._generation = generation
        question = self.messages[self._index(message["parent"])]
        of_tree = {"question": question["id"], "parent": question["parent"], "answer": message["id"]}
        queued = {"generation_id": generation, "position": 0, **of_tree, "at": len(message["text"])}
        self._log.append(("queued", queued))
        self._log.append(("started", {"generation_id": generation, "model": message["model"], "attempt": 1}))
        return generation

    def _leaf(self) -> str | None:
        return self.messages[-1]["id"] if self.messages else None

    def _index(self, message_id: str) -> int:
        return [message["id"] for message in self.messages].index(message_id)

    def tell(self, event: str, **data: Any) -> None:
        """Something happens to the answer that is being written."""
        message = self.messages[-1]
        match event:
            case "delta":
                message["text"] = message["text"][: data["at"]] + data["text"]
            case "thinking":
                message["thinking"] = (message["thinking"] or "")[: data["at"]] + data["text"]
            case "resumed" | "fallback":
                message["thinking"] = (message["thinking"] or "")[: data["thinking"]]
                message["model"] = data.get("to", message["model"])
        self._log.append((event, {"generation_id": self._generation, **data}))

    def end(self, event: str = "done", finish_reason: str = "stop", **fields: Any) -> None:
        """The answer is over."""
        message = self.messages[-1]
        states = {"done": "complete", "stopped": "stopped", "failed": "failed"}
        message |= {"state": states[event], "finish_reason": finish_reason, **fields}
        told = {"done": {"model": message["model"], "finish_reason": finish_reason}, "failed": {"problem": None}}
        told["failed"]["problem"] = message["problem"]
        self._log.append((event, {"generation_id": self._generation, **told.get(event, {})}))

    def answer(self, path: str) -> Any:
        """What a GET is answered with."""
        match path:
            case "/session/current":
                return self.session
            case "/session/messages":
                return {"messages": self.messages, "cursor": f"e-{len(self._log)}", "before": None}
            case "/session/queue":
                return {"waiting": self.waiting}
            case "/config/models":
                return {"default": "deep", "models": self.models}

    def read(self, after: int, say: Callable[[bytes], object]) -> None:
        """The events after that many, as they come."""
        say(b": \n\n")
        while not self._over.wait(SILENCE):
            for event, data in self._log[after:]:
                after += 1
                say(f"event: {event}\nid: e-{after}\ndata: {json.dumps(data)}\n\n".encode())


class _Handler(BaseHTTPRequestHandler):
    owner: Stage

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/chat/sse":
            self._head("text/event-stream")
            with contextlib.suppress(OSError):  # the page has gone
                self.owner.read(int(query.get("last_event_id", ["e-0"])[0].removeprefix("e-")), self._say)
        elif path == "/config/models" and self.owner.refuses:
            self.send_error(503)
        else:
            self._answer(self.owner.answer(path))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/session/model":
            self._switch(body["model"])
        else:
            self._ask(body)

    def _ask(self, body: dict[str, Any]) -> None:
        self.owner.asked.append(body)
        if body.get("model", self.owner.session["model"]) != self.owner.session["model"]:
            self.owner.switch(body["model"])
        begin = {"/chat/regenerate": self.owner.begin_again, "/chat/continue": self.owner.go_on}
        generation = begin.get(self.path, self.owner.begin)(str(body.get("message_id") or body.get("message")))
        self._answer({"session_id": "s", "generation_id": generation, "state": "queued", "position": 0})

    def _switch(self, model: str) -> None:
        if self.headers["If-Match"] != self._etag():
            self._answer({"type": "/problems/version-conflict", "status": 412}, 412)
        else:
            self.owner.switch(model)
            self._answer(self.owner.session)

    def _etag(self) -> str:
        return f'"{self.owner.session["version"]}"'

    def _answer(self, body: Any, status: int = 200) -> None:
        self._head("application/json", status)
        self._say(json.dumps(body).encode())

    def _head(self, content_type: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("ETag", self._etag())
        self.end_headers()

    def _say(self, words: bytes) -> None:
        self.wfile.write(words)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def _message(id: str, role: str, **fields: Any) -> dict[str, Any]:  # noqa: A002
    empty = dict.fromkeys(("html", "model", "finish_reason", "thinking", "thinking_seconds", "problem"))
    return {"id": id, "role": role, "text": "", "created_at": "2026-01-01T00:00:00Z", **empty, **fields}


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
