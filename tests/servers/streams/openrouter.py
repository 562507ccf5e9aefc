"""OpenRouter, in front of many others (openrouter.ai/docs/api-reference/streaming, .../errors)."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, THOUGHT, Case, answered, chunk, counted, pieces, refused, whole

of = partial(chunk, model="deepseek/deepseek-r1", provider="SomeHost")
PROCESSING = ": OPENROUTER PROCESSING\n\n"
USAGE = {**of({"role": "assistant", "content": ""}), "usage": {**counted(14, 163, 150), "cost": 0.00042}}


def said(text: str) -> list[dict[str, Any]]:
    return [of({"role": "assistant", "content": piece}) for piece in pieces(text)]


def thought(text: str) -> list[dict[str, Any]]:
    """The same words twice: as text, and as details."""
    details = {"type": "reasoning.text", "format": "unknown", "index": 0}
    return [
        of(
            {
                "role": "assistant",
                "content": "",
                "reasoning": piece,
                "reasoning_details": [{**details, "text": piece}],
            }
        )
        for piece in pieces(text)
    ]


def ended(reason: str, native: str | None = None, **more: Any) -> dict[str, Any]:
    made = of({"role": "assistant", "content": ""}, reason, **more)
    made["choices"][0]["native_finish_reason"] = native or reason
    return made


def error(code: Any, message: str, **metadata: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **({"metadata": metadata} if metadata else {})}}


CASES: dict[str, Case] = {
    "plain": answered(
        PROCESSING,
        PROCESSING,
        *said(ANSWER),
        ended("stop"),
        USAGE,
        DONE,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(14, 163, 150),
    ),
    "thinking": answered(
        PROCESSING,
        *thought(THOUGHT),
        PROCESSING,
        *said(ANSWER),
        ended("stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
    ),
    "thinking that is kept secret": answered(
        of(
            {
                "role": "assistant",
                "content": "",
                "reasoning_details": [{"type": "reasoning.encrypted", "data": "gAAAAA=="}],
            }
        ),
        *said(ANSWER),
        ended("stop"),
        DONE,
        text=ANSWER,
        finish_reason="stop",
    ),
    "length": answered(*said(HALF), ended("length", "MAX_TOKENS"), DONE, text=HALF, finish_reason="length"),
    "filter": answered(
        *said(HALF), ended("content_filter", "SAFETY"), DONE, text=HALF, finish_reason="content_filter"
    ),
    "empty": answered(PROCESSING, ended("stop"), USAGE, DONE, finish_reason="stop", usage=Usage(14, 163, 150)),
    "error in the stream": answered(
        PROCESSING,
        *said(HALF),
        ended("error", **error("server_error", "Provider disconnected unexpectedly")),
        DONE,
        text=HALF,
        error=ErrorKind.SERVER_ERROR,
    ),
    "error in the stream, as a number": answered(
        PROCESSING,
        ended("error", **error(502, "Provider returned error", provider_name="SomeHost", raw="upstream")),
        DONE,
        error=ErrorKind.SERVER_ERROR,
    ),
    "too fast, told in the stream": answered(
        PROCESSING, ended("error", **error(429, "Rate limit exceeded")), DONE, error=ErrorKind.RATE_LIMITED
    ),
    "error in a 200": whole(
        {**error(502, "Provider returned error"), "user_id": "user_1"}, error=ErrorKind.SERVER_ERROR
    ),
    "an answer in a 200": whole(
        {
            "id": "gen-1",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": ANSWER, "reasoning": THOUGHT},
                    "finish_reason": "stop",
                }
            ],
            "usage": counted(14, 163),
        },
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(14, 163),
    ),
    "no credits": refused(
        402,
        error(
            402,
            "This request requires more credits, or fewer max_tokens. You requested up to 400 tokens, but can "
            "only afford 12.",
        ),
        ErrorKind.QUOTA,
    ),
    "flagged": refused(
        403,
        error(
            403,
            'SomeModel requires moderation on SomeHost. Your input was flagged for "harassment". No credits '
            "were charged.",
            reasons=["harassment"],
            flagged_input="Why?",
        ),
        ErrorKind.FILTERED,
    ),
    "wrong key": refused(401, error(401, "User not found."), ErrorKind.UNAUTHORIZED),
    "wrong name": refused(400, error(400, "nobody/none is not a valid model ID"), ErrorKind.MODEL_NOT_FOUND),
    "nobody has it": refused(404, error(404, "No endpoints found for nobody/none."), ErrorKind.MODEL_NOT_FOUND),
    "too long": refused(
        400,
        error(
            400,
            "This endpoint's maximum context length is 32768 tokens. However, you requested about 40010 tokens "
            "(39610 of "
            "text input, 400 in the output). Please reduce the length of either one.",
        ),
        ErrorKind.TOO_LONG,
        limit=32768,
    ),
}
