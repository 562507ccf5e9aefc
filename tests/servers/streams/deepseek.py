"""DeepSeek (api-docs.deepseek.com: reasoning model, error codes, rate limit's keep-alives)."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, THOUGHT, Case, answered, chunk, counted, pieces, refused

of = partial(chunk, model="deepseek-reasoner", system_fingerprint="fp_eaab8d114b_prod0820_fp8_kvcache")
ALIVE = ": keep-alive\n\n"
COUNTED = {**counted(11, 95, 80), "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 11}


def thought(text: str) -> list[dict[str, Any]]:
    return [of({"content": None, "reasoning_content": piece}) for piece in pieces(text)]


def said(text: str) -> list[dict[str, Any]]:
    return [of({"content": piece, "reasoning_content": None}) for piece in pieces(text)]


def ended(reason: str, usage: Any = COUNTED) -> dict[str, Any]:
    return of({"content": "", "reasoning_content": None}, reason, usage=usage)


def error(message: str, code: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


OPENING = of({"role": "assistant", "content": ""})

CASES: dict[str, Case] = {
    "plain": answered(
        ALIVE,
        ALIVE,
        OPENING,
        *said(ANSWER),
        ended("stop"),
        DONE,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(11, 95, 80),
    ),
    "thinking": answered(
        ALIVE,
        "\n\n\n",
        of({"role": "assistant", "content": None, "reasoning_content": ""}),
        *thought(THOUGHT),
        ALIVE,
        *said(ANSWER),
        ended("stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(11, 95, 80),
    ),
    "thinking used up the room": answered(
        *thought(THOUGHT), ended("length"), DONE, thinking=THOUGHT, finish_reason="length", usage=Usage(11, 95, 80)
    ),
    "length": answered(OPENING, *said(HALF), ended("length", None), DONE, text=HALF, finish_reason="length"),
    "filter": answered(
        OPENING, *said(HALF), ended("content_filter", None), DONE, text=HALF, finish_reason="content_filter"
    ),
    "short of machines": answered(
        OPENING,
        *said(HALF),
        ended("insufficient_system_resource", None),
        DONE,
        text=HALF,
        error=ErrorKind.SERVER_ERROR,
    ),
    "empty": answered(OPENING, ended("stop", None), DONE, finish_reason="stop"),
    "no credits": refused(402, error("Insufficient Balance", "unknown_error"), ErrorKind.QUOTA),
    "wrong key": refused(
        401,
        error("Authentication Fails, Your api key: ****9abc is invalid", "authentication_error"),
        ErrorKind.UNAUTHORIZED,
    ),
    "wrong name": refused(400, error("Model Not Exist"), ErrorKind.MODEL_NOT_FOUND),
    "too long": refused(
        400,
        error(
            "This model's maximum context length is 65536 tokens. However, you requested 70000 tokens (69600 in "
            "the messages, "
            "400 in the completion). Please reduce the length of the messages or completion."
        ),
        ErrorKind.TOO_LONG,
        limit=65536,
    ),
    "filter of the question": refused(400, error("Content Exists Risk"), ErrorKind.FILTERED),
    "overloaded": refused(503, error("Service is too busy.", "service_unavailable_error"), ErrorKind.SERVER_ERROR),
}
