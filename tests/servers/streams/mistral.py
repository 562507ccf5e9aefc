"""Mistral's API, whose content may be typed blocks (docs.mistral.ai/capabilities/reasoning, .../citations)."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, THOUGHT, Case, answered, chunk, counted, pieces, refused

of = partial(chunk, model="magistral-medium-latest", p="abcdefgh0123")
OPENING = of({"role": "assistant", "content": ""})


def said(text: str) -> list[dict[str, Any]]:
    return [of({"content": piece}) for piece in pieces(text)]


def block(kind: str, content: Any) -> dict[str, Any]:
    return {"type": kind, kind: content}


def thought(text: str) -> list[dict[str, Any]]:
    return [of({"content": [block("thinking", [block("text", piece)])]}) for piece in pieces(text)]


def error(message: Any, kind: str, code: str | None) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


FORBIDDEN = {
    "type": "extra_forbidden",
    "loc": ["body", "stream_options"],
    "msg": "Extra inputs are not permitted",
    "input": {"include_usage": True},
}
CALL = {"id": "D681PevKs", "function": {"name": "weather", "arguments": "{}"}, "index": 0}

CASES: dict[str, Case] = {
    "plain": answered(
        OPENING,
        *said(ANSWER[:-1]),
        of({"content": ANSWER[-1]}, "stop", usage=counted(9, 14)),
        DONE,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(9, 14),
    ),
    "thinking": answered(
        of({"role": "assistant", "content": [block("thinking", [])]}),
        *thought(THOUGHT),
        of({"content": [{"type": "thinking", "thinking": [], "closed": True}]}),
        *[of({"content": [block("text", piece)]}) for piece in pieces(ANSWER)],
        of({"content": ""}, "stop", usage=counted(9, 60)),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(9, 60),
    ),
    "thinking, then plain text": answered(
        OPENING,
        *thought(THOUGHT),
        *said(ANSWER),
        of({"content": ""}, "stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
    ),
    "a reference": answered(
        OPENING,
        of(
            {"content": [block("text", "As "), {"type": "reference", "reference_ids": [0, 2]}, block("text", "they")]}
        ),
        of({"content": " say."}),
        of({"content": ""}, "stop"),
        DONE,
        text="As they say.",
        finish_reason="stop",
    ),
    "length": answered(OPENING, *said(HALF), of({"content": ""}, "length"), DONE, text=HALF, finish_reason="length"),
    "the context's length": answered(
        OPENING, *said(HALF), of({"content": ""}, "model_length"), DONE, text=HALF, finish_reason="length"
    ),
    "tool": answered(
        OPENING, of({"content": "", "tool_calls": [CALL]}, "tool_calls"), DONE, finish_reason="tool_calls"
    ),
    "empty": answered(OPENING, of({"content": ""}, "stop"), DONE, finish_reason="stop"),
    "error in the stream": answered(
        OPENING,
        *said(HALF),
        error("Internal server error", "internal_server_error", "1000"),
        text=HALF,
        error=ErrorKind.SERVER_ERROR,
    ),
    "stream_options are forbidden": refused(
        422, error({"detail": [FORBIDDEN]}, "invalid_request_error", None), refuses="stream_options"
    ),
    "stream_options are forbidden, told by its gateway": refused(
        422, {"detail": [FORBIDDEN]}, refuses="stream_options"
    ),
    "wrong key": refused(401, {"detail": "Unauthorized"}, ErrorKind.UNAUTHORIZED),
    "wrong key, told by its gateway": refused(
        401, {"message": "Unauthorized", "request_id": "d1f9"}, ErrorKind.UNAUTHORIZED
    ),
    "wrong name": refused(
        400, error("Invalid model: mistral-huge", "invalid_model", "1500"), ErrorKind.MODEL_NOT_FOUND
    ),
    "too long": refused(
        400,
        error(
            "Prompt contains 40123 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            "invalid_request_prompt",
            "3051",
        ),
        ErrorKind.TOO_LONG,
        tokens=40123,
        limit=32768,
    ),
    "roles in an order it does not take": refused(
        400,
        error(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
            "invalid_request_message_order",
            "3230",
        ),
        ErrorKind.REJECTED,
    ),
    "full": refused(
        429,
        error("Service tier capacity exceeded for this model.", "service_tier_capacity_exceeded", "3505"),
        ErrorKind.RATE_LIMITED,
    ),
}
