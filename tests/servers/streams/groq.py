"""Groq, with its own part of each end (console.groq.com/docs/reasoning, .../errors, .../rate-limits)."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, LONGEST, THOUGHT, Case, answered, chunk, counted, pieces, refused

of = partial(chunk, model="openai/gpt-oss-20b", system_fingerprint="fp_44e53a1c5d")
OPENING = of({"role": "assistant", "content": ""}, x_groq={"id": "req_01k", "seed": 1})
COUNTED = {**counted(72, 90), "queue_time": 0.01, "prompt_time": 0.002, "completion_time": 0.1, "total_time": 0.102}


def said(text: str) -> list[dict[str, Any]]:
    return [of({"content": piece, "tool_calls": []}) for piece in pieces(text)]


def ended(reason: str, usage: Any = None) -> dict[str, Any]:
    return of({}, reason, x_groq={"id": "req_01k", **({"usage": usage} if usage else {})})


def error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, **({"code": code} if code else {})}}


CASES: dict[str, Case] = {
    "plain": answered(
        OPENING,
        *said(ANSWER),
        ended("stop", COUNTED),
        {**of(), "choices": [], "usage": COUNTED},
        DONE,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(72, 90),
    ),
    "usage in its own part only": answered(
        OPENING, *said(ANSWER), ended("stop", COUNTED), DONE, text=ANSWER, finish_reason="stop", usage=Usage(72, 90)
    ),
    "thinking": answered(
        OPENING,
        *[of({"reasoning": piece, "channel": "analysis"}) for piece in pieces(THOUGHT)],
        *said(ANSWER),
        ended("stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
    ),
    "length": answered(OPENING, *said(HALF), ended("length"), DONE, text=HALF, finish_reason="length"),
    "tool": answered(
        OPENING,
        of(
            {
                "tool_calls": [
                    {"id": "fc_1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}
                ]
            }
        ),
        ended("tool_calls"),
        DONE,
        finish_reason="tool_calls",
    ),
    "empty": answered(OPENING, ended("stop"), DONE, finish_reason="stop"),
    "error in the stream": answered(
        OPENING,
        *said(HALF),
        ("error", error("Internal Server Error", "internal_server_error")),
        text=HALF,
        error=ErrorKind.SERVER_ERROR,
    ),
    "full in the middle": answered(
        OPENING,
        *said(HALF),
        of({}, None, x_groq={"id": "req_01k", "error": "over_capacity"}),
        text=HALF,
        error=ErrorKind.RATE_LIMITED,
    ),
    "too large for a minute": refused(
        413,
        error(
            "Request too large for model `llama-3.1-8b-instant` in organization `org_1` service tier "
            "`on_demand` on tokens "
            "per minute (TPM): Limit 6000, Requested 12328, please reduce your message size and try again.",
            "tokens",
            "rate_limit_exceeded",
        ),
        ErrorKind.TOO_LONG,
        tokens=12328 - LONGEST,  # a rate counts the answer's limit too, which is none of the question's
        limit=6000,
    ),
    "too fast": refused(
        429,
        error(
            "Rate limit reached for model `llama-3.1-8b-instant` in organization `org_1` on tokens per minute "
            "(TPM): Limit "
            "6000, Used 5034, Requested 1443. Please try again in 4.77s.",
            "tokens",
            "rate_limit_exceeded",
        ),
        ErrorKind.RATE_LIMITED,
        headers={"retry-after": "5"},
        retry_after=5,
    ),
    "too long": refused(
        400,
        error(
            "Please reduce the length of the messages or completion.",
            "invalid_request_error",
            "context_length_exceeded",
        ),
        ErrorKind.TOO_LONG,
    ),
    "a model that is no more": refused(
        400,
        error(
            "The model `mixtral-8x7b-32768` has been decommissioned and is no longer supported.",
            "invalid_request_error",
            "model_decommissioned",
        ),
        ErrorKind.MODEL_NOT_FOUND,
    ),
    "wrong name": refused(
        404,
        error(
            "The model `none` does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
        ),
        ErrorKind.MODEL_NOT_FOUND,
    ),
    "wrong key": refused(
        401, error("Invalid API Key", "invalid_request_error", "invalid_api_key"), ErrorKind.UNAUTHORIZED
    ),
}
