"""A guest who begins a conversation, asks one question, reads the answer and ends the session, whatever is restarted
meanwhile, as a patient page does it."""

import http.client
import json
import time
from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any
from uuid import uuid4

from bench.provider import Manner

PATIENCE = 90.0
"""Seconds in which a command must have been carried out, and an answer be there."""
ENDED = ("complete", "stopped", "failed")
PAUSE = 0.5
"""Seconds between two tries, and between two looks at the answer."""


class Wrong(Exception):
    """Something is not as it was promised: a command lost, an answer cut, doubled or failed."""


class Visitor:
    """One guest. `port` is the web process's."""

    def __init__(self, port: int, manner: Manner) -> None:
        self._port = port
        self._manner = manner
        self._cookie = ""
        self._location = ""
        self.session_id = ""
        self.tries = 0
        """Requests that were answered with 503 or not at all, and sent again."""

    def visit(self) -> None:
        """Do it all. Raises Wrong."""
        self.session_id = self._create()
        asked = {"Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
        self._send("POST", "/chat", ("202",), asked, {"message": "Count.", "model": str(self._manner)})
        self._read()
        self._send("DELETE", "/session", ("204", "401"))  # 401: the first try has ended it, and was not answered

    def _create(self) -> str:
        """The id of a new session. A slow creation is answered with 202, its outcome found at the task's URL."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            created = self._send("POST", "/session/create", ("201", "202"), {"Idempotency-Key": str(uuid4())})
            while created.get("state") == "pending" and time.monotonic() < deadline:
                time.sleep(PAUSE)
                created = self._send("GET", self._location, ("200",))
            if created.get("state") == "done":
                created = created["result"]
            if "session_id" in created:
                return str(created["session_id"])
            self.tries += 1  # it was refused, with a reason; another one is sent
        raise Wrong(f"no session was created in {PATIENCE:.0f} s: {created}")

    def _read(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            messages = self._send("GET", "/session/messages", ("200",))["messages"]
            answers = [each for each in messages if each["role"] == "assistant"]
            if answers and answers[-1]["state"] in ENDED:
                break
            if time.monotonic() > deadline:
                raise Wrong(f"{self.session_id}: no answer in {PATIENCE:.0f} s: {messages}")
            time.sleep(PAUSE)
        if [each["role"] for each in messages] != ["user", "assistant"]:
            raise Wrong(f"{self.session_id}: the conversation has {[each['role'] for each in messages]}")
        if answers[0]["state"] != "complete" or not self._manner.is_whole(answers[0]["text"]):
            raise Wrong(f"{self.session_id}: {answers[0]['state']}, {answers[0]['problem']}: {answers[0]['text']!r}")

    def _send(
        self,
        method: str,
        path: str,
        expected: tuple[str, ...],
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
    ) -> Any:
        """What is answered, once it is one of the statuses. Tries again while nobody answers, or a 503, or a request
        with the same key is under way (409)."""
        deadline = time.monotonic() + PATIENCE
        sent = None if body is None else json.dumps(body)
        while True:
            status, told = self._try(method, path, sent, {**(headers or {}), "Cookie": self._cookie})
            if status in expected:
                return json.loads(told) if told and status < "300" else None
            if status not in ("", "503", "409"):
                raise Wrong(f"{method} {path} was answered with {status}: {told[:300]!r}")
            if time.monotonic() > deadline:
                raise Wrong(f"{method} {path} was not carried out in {PATIENCE:.0f} s, but {status or 'not heard'}")
            self.tries += 1
            time.sleep(PAUSE)

    def _try(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> tuple[str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=15)
        try:
            connection.request(method, path, body, {name: value for name, value in headers.items() if value})
            answer = connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException):
            return "", b""
        finally:
            connection.close()
        for cookie in SimpleCookie(answer.headers.get("Set-Cookie", "")).values():
            self._cookie = f"{cookie.key}={cookie.value}"
        self._location = answer.headers.get("Location", self._location)
        return str(answer.status), told
