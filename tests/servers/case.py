"""One thing that a server may send, and what must come of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.llm.providers.base import ErrorKind, FinishReason, Usage

EVENTS: Mapping[str, str] = {"Content-Type": "text/event-stream"}
JSON: Mapping[str, str] = {"Content-Type": "application/json"}

ANSWER = "Grüße — 你好, wörld! 🎉"
"""What all of them answer: characters of one to four bytes."""
HALF = "Half an answer, and"
LONGEST = 400
"""Tokens of an answer: every model's `max_tokens`."""
THOUGHT = "The user greets. 问候 🤔 I greet back."

CONCERNS_ALL = {
    ErrorKind.UNREACHABLE,
    ErrorKind.MISCONFIGURED,
    ErrorKind.MISSING_KEY,
    ErrorKind.UNAUTHORIZED,
    ErrorKind.MODEL_NOT_FOUND,
    ErrorKind.QUOTA,
    ErrorKind.RATE_LIMITED,
}
"""The failures of which one is enough to rest a model for everybody."""
ENDS: Mapping[ErrorKind | None, str] = {ErrorKind.FILTERED: "content_filter", ErrorKind.TOO_LONG: "length"}
"""The errors that are the end of an answer with words."""


@dataclass(frozen=True, repr=False)
class Case:
    """A response, and what must come of it."""

    body: bytes
    text: str = ""
    finish_reason: FinishReason | None = None
    error: ErrorKind | None = None
    """What the provider layer must raise."""
    thinking: str = ""
    usage: Usage | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: EVENTS)
    retry_after: float | None = None
    tokens: int | None = None
    """How many the provider counted in what was too long; none: it does not say."""
    limit: int | None = None
    """How many it takes."""
    refuses: str = ""
    """The parameter of a request for which alone this is the response; without it the answer is a whole one."""
    table: str = ""
    """More of the model's table in models.toml."""

    @property
    def failure(self) -> ErrorKind | None:
        """How the answer fails for its reader, if it does."""
        if self.refuses or (self.text.strip() and self.error in ENDS):
            return None
        if self.error or self.text.strip():
            return self.error
        return ErrorKind.FILTERED if self.finish_reason == "content_filter" else ErrorKind.EMPTY

    @property
    def told_reason(self) -> str:
        """The `finish_reason` that the message must have."""
        if self.refuses:
            return "stop"
        if self.error is ErrorKind.FILTERED or (self.text.strip() and self.error in ENDS):
            return ENDS[self.error]
        if self.error or (self.failure and self.finish_reason == "stop"):
            return "error"
        return self.finish_reason or "error"

    @property
    def rests(self) -> bool:
        """Whether others find the model unavailable after this."""
        return self.failure in CONCERNS_ALL


def answered(*parts: Any, ends: str = "\n\n", **outcome: Any) -> Case:
    """A stream of events. A string goes over the wire as it stands, anything else as JSON after `data:`; a pair has
    the event's name before it."""
    return Case(b"".join(_event(part, ends) for part in parts), **outcome)


def whole(body: Any, **outcome: Any) -> Case:
    """A JSON body where a stream was asked for."""
    return Case(_json(body), headers=JSON, **outcome)


def refused(
    status: int, body: Any, error: ErrorKind | None = None, headers: Mapping[str, str] = JSON, **more: Any
) -> Case:
    """An error instead of an answer."""
    return Case(_json(body), error=error, status=status, headers={**JSON, **headers}, **more)


def chunk(delta: Any = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat completion, with more of the envelope or instead of it."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "logprobs": None, "finish_reason": reason}
    return {
        "id": "chatcmpl-7Yq",
        "object": "chat.completion.chunk",
        "created": 1795687200,
        "choices": [choice],
        **more,
    }


def said(text: str, **more: Any) -> list[dict[str, Any]]:
    """Chunks of text, each a few characters long."""
    return [chunk({"content": piece}, **more) for piece in pieces(text)]


def pieces(text: str, size: int = 5) -> list[str]:
    """The text in parts."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def counted(prompt: int, completion: int, reasoning: int | None = None) -> dict[str, Any]:
    """Usage in OpenAI's shape."""
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}


DONE = "data: [DONE]\n\n"


def _event(part: Any, ends: str) -> bytes:
    if isinstance(part, str):
        return part.encode()
    name, data = part if isinstance(part, tuple) else ("", part)
    line = ends[: len(ends) // 2]
    return (f"event: {name}{line}" if name else "").encode() + b"data: " + _json(data) + ends.encode()


def _json(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value, ensure_ascii=False).encode()
