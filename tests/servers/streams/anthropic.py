"""Anthropic's Messages API (docs.anthropic.com: streaming, errors, extended thinking, stop reasons)."""

from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, HALF, THOUGHT, Case, answered, pieces, refused, whole


def event(kind: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return kind, {"type": kind, **more}


START = event(
    "message_start",
    message={
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 1,
        },
    },
)
PING = event("ping")


def block(index: int, kind: str, deltas: list[dict[str, Any]], **empty: Any) -> list[tuple[str, dict[str, Any]]]:
    return [
        event("content_block_start", index=index, content_block={"type": kind, **empty}),
        *[event("content_block_delta", index=index, delta=delta) for delta in deltas],
        event("content_block_stop", index=index),
    ]


def said(text: str, index: int = 0) -> list[tuple[str, dict[str, Any]]]:
    return block(index, "text", [{"type": "text_delta", "text": piece} for piece in pieces(text)], text="")


def thought(text: str) -> list[tuple[str, dict[str, Any]]]:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(text)]
    return block(
        0, "thinking", [*deltas, {"type": "signature_delta", "signature": "EqQB"}], thinking="", signature=""
    )


def ended(reason: str, tokens: int = 15) -> list[tuple[str, dict[str, Any]]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage={"output_tokens": tokens}), event("message_stop")]


def error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011C"}


REDACTED = block(0, "redacted_thinking", [], data="EmwKAhgB")
CALL = block(0, "tool_use", [{"type": "input_json_delta", "partial_json": "{}"}], id="toolu_01", name="f", input={})
USAGE = Usage(29, 15)

CASES: dict[str, Case] = {
    "plain": answered(START, PING, *said(ANSWER), *ended("end_turn"), text=ANSWER, finish_reason="stop", usage=USAGE),
    "thinking": answered(
        START,
        PING,
        *thought(THOUGHT),
        PING,
        *said(ANSWER, 1),
        *ended("end_turn"),
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
        usage=USAGE,
    ),
    "thinking that is kept secret": answered(
        START, *REDACTED, *said(ANSWER, 1), *ended("end_turn"), text=ANSWER, finish_reason="stop", usage=USAGE
    ),
    "length": answered(START, *said(HALF), *ended("max_tokens"), text=HALF, finish_reason="length", usage=USAGE),
    "thinking used up the room": answered(
        START, *thought(THOUGHT), *ended("max_tokens"), thinking=THOUGHT, finish_reason="length", usage=USAGE
    ),
    "the context's length": answered(
        START, *said(HALF), *ended("model_context_window_exceeded"), text=HALF, finish_reason="length", usage=USAGE
    ),
    "refusal": answered(
        START, *said(HALF), *ended("refusal"), text=HALF, finish_reason="content_filter", usage=USAGE
    ),
    "refusal before a word": answered(
        START, *ended("refusal", 1), finish_reason="content_filter", usage=Usage(29, 1)
    ),
    "tool": answered(START, *CALL, *ended("tool_use"), finish_reason="tool_calls", usage=USAGE),
    "a pause": answered(START, *said(HALF), *ended("pause_turn"), text=HALF, finish_reason="other", usage=USAGE),
    "empty": answered(START, *ended("end_turn", 3), finish_reason="stop", usage=Usage(29, 3)),
    "overloaded in the stream": answered(
        START,
        *said(HALF)[:-1],
        ("error", error("overloaded_error", "Overloaded")),
        text=HALF,
        error=ErrorKind.RATE_LIMITED,
    ),
    "error in the stream": answered(
        START, ("error", error("api_error", "Internal server error")), error=ErrorKind.SERVER_ERROR
    ),
    "broken off": answered(START, *said(HALF), text=HALF, error=ErrorKind.BROKEN_STREAM),
    "an answer in a 200": whole(
        {
            "id": "msg_01",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-5-5",
            "content": [
                {"type": "thinking", "thinking": THOUGHT, "signature": "EqQB"},
                {"type": "text", "text": ANSWER},
            ],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 29, "output_tokens": 15},
        },
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
        usage=USAGE,
    ),
    "wrong key": refused(401, error("authentication_error", "invalid x-api-key"), ErrorKind.UNAUTHORIZED),
    "not allowed": refused(
        403,
        error("permission_error", "Your API key does not have permission to use the specified resource."),
        ErrorKind.UNAUTHORIZED,
    ),
    "wrong name": refused(404, error("not_found_error", "model: claude-none"), ErrorKind.MODEL_NOT_FOUND),
    "no credits": refused(
        400,
        error(
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & "
            "Billing to upgrade or purchase credits.",
        ),
        ErrorKind.QUOTA,
    ),
    "too long": refused(
        400,
        error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        ErrorKind.TOO_LONG,
        tokens=210000,
        limit=200000,
    ),
    "no room for the answer": refused(
        400,
        error(
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000, decrease "
            "input length or `max_tokens` and try again",
        ),
        ErrorKind.TOO_LONG,
        limit=200000,
    ),
    "too large": refused(
        413, error("request_too_large", "Request exceeds the maximum allowed number of bytes."), ErrorKind.TOO_LONG
    ),
    "too fast": refused(
        429,
        error("rate_limit_error", "This request would exceed your organization's rate limit."),
        ErrorKind.RATE_LIMITED,
        headers={"retry-after": "7"},
        retry_after=7,
    ),
    "overloaded": refused(529, error("overloaded_error", "Overloaded"), ErrorKind.RATE_LIMITED),
    "its own error": refused(500, error("api_error", "Internal server error"), ErrorKind.SERVER_ERROR),
    "temperature and thinking": refused(
        400,
        error("invalid_request_error", "`temperature` may only be set to 1 when thinking is enabled."),
        refuses="temperature",
        table="temperature = 0.5",
    ),
}
