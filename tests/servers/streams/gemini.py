"""Gemini's OpenAI endpoint (ai.google.dev/gemini-api/docs/openai), with CRLF at the ends of its lines."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, HALF, THOUGHT, Case, answered, pieces, refused

COUNTED = {"prompt_tokens": 8, "completion_tokens": 12, "total_tokens": 84}
"""The 64 tokens of thinking are in the total only."""
DETAILED = {**COUNTED, "completion_tokens_details": {"reasoning_tokens": 64}}
DONE = "data: [DONE]\r\n\r\n"
told = partial(answered, ends="\r\n\r\n")


def of(delta: Any = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A choice has only what there is to tell."""
    choice = {"index": 0, **({"delta": delta} if delta else {}), **({"finish_reason": reason} if reason else {})}
    envelope = {"id": "nEYn", "object": "chat.completion.chunk", "created": 1795687200, "model": "gemini-3-flash"}
    return {"choices": [choice], **envelope, **more}


def said(text: str) -> list[dict[str, Any]]:
    return [of({"content": piece, "role": "assistant"}) for piece in pieces(text)]


def error(code: int, status: str, message: str, *details: dict[str, Any]) -> list[dict[str, Any]]:
    """A list of one."""
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def _detail(kind: str, **more: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **more}


CASES: dict[str, Case] = {
    "plain": told(
        *said(ANSWER),
        of({"role": "assistant"}, "stop", usage=DETAILED),
        DONE,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(8, 76, 64),
    ),
    "thinking": told(
        of(
            {
                "content": f"<thought>{THOUGHT[:9]}",
                "role": "assistant",
                "extra_content": {"google": {"thought": True}},
            }
        ),
        of({"content": THOUGHT[9:], "role": "assistant", "extra_content": {"google": {"thought": True}}}),
        of({"content": f"</thought>{ANSWER}", "role": "assistant"}),
        of({"role": "assistant"}, "stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
    ),
    "a signature": told(
        *said(HALF),
        of({"role": "assistant", "extra_content": {"google": {"thought_signature": "CrUB"}}}, "length"),
        DONE,
        text=HALF,
        finish_reason="length",
    ),
    "length, all of it thought": told(
        of(reason="length", usage={"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 408}),
        DONE,
        finish_reason="length",
    ),
    "filter": told(*said(HALF), of(reason="content_filter"), DONE, text=HALF, finish_reason="content_filter"),
    "filter, by its full name": told(
        of({"role": "assistant"}, "content_filter: PROHIBITED_CONTENT"), DONE, finish_reason="content_filter"
    ),
    "empty": told(of({"role": "assistant"}, "stop"), DONE, finish_reason="stop"),
    "tool": told(
        of(
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "function-call-1",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                    }
                ],
            },
            "tool_calls",
        ),
        DONE,
        finish_reason="tool_calls",
    ),
    "error in the stream": told(
        *said(HALF),
        error(500, "INTERNAL", "An internal error has occurred. Please retry.")[0],
        text=HALF,
        error=ErrorKind.SERVER_ERROR,
    ),
    "wrong key": refused(
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            _detail("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com"),
        ),
        ErrorKind.UNAUTHORIZED,
    ),
    "wrong name": refused(
        404,
        error(
            404,
            "NOT_FOUND",
            "models/gemini-9 is not found for API version v1main, or is not supported for generateContent.",
        ),
        ErrorKind.MODEL_NOT_FOUND,
    ),
    "too fast": refused(
        429,
        error(
            429,
            "RESOURCE_EXHAUSTED",
            "Resource exhausted. Please try again later.",
            _detail("RetryInfo", retryDelay="34s"),
        ),
        ErrorKind.RATE_LIMITED,
        retry_after=34,
    ),
    "too long": refused(
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1048600) exceeds the maximum number of tokens allowed (1048576).",
        ),
        ErrorKind.TOO_LONG,
        tokens=1048600,
        limit=1048576,
    ),
    "something else is wrong": refused(
        400, error(400, "INVALID_ARGUMENT", "Request contains an invalid argument."), ErrorKind.REJECTED
    ),
}
