"""OpenAI's Chat Completions (platform.openai.com/docs/api-reference/chat-streaming, .../guides/error-codes)."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, Case, answered, chunk, counted, pieces, refused

of = partial(chunk, model="gpt-5-mini-2025-08-07", system_fingerprint=None, service_tier="default", usage=None)
OPENING = of({"role": "assistant", "content": "", "refusal": None}, obfuscation="x7B")
USAGE = Usage(19, 30, 20)


def said(text: str) -> list[dict[str, Any]]:
    return [of({"content": piece}, obfuscation="q" * len(piece)) for piece in pieces(text)]


def usage(prompt: int, completion: int, reasoning: int) -> dict[str, Any]:
    return {**of(), "choices": [], "usage": counted(prompt, completion, reasoning), "obfuscation": ""}


def error(message: str, kind: str | None, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"in":'}}
SORRY = error("The server had an error while processing your request. Sorry about that!", "server_error")

CASES: dict[str, Case] = {
    "plain": answered(
        OPENING,
        *said(ANSWER),
        of({}, "stop"),
        usage(19, 30, 20),
        DONE,
        text=ANSWER,
        finish_reason="stop",
        usage=USAGE,
    ),
    "usage was not asked for": answered(
        OPENING, *said(ANSWER), of({}, "stop"), DONE, text=ANSWER, finish_reason="stop"
    ),
    "length": answered(OPENING, *said(HALF), of({}, "length"), DONE, text=HALF, finish_reason="length"),
    "length, all of it thought": answered(
        OPENING, of({}, "length"), usage(19, 400, 400), DONE, finish_reason="length", usage=Usage(19, 400, 400)
    ),
    "filter": answered(
        OPENING, *said(HALF), of({}, "content_filter"), DONE, text=HALF, finish_reason="content_filter"
    ),
    "filter before a word": answered(OPENING, of({}, "content_filter"), DONE, finish_reason="content_filter"),
    "refusal": answered(
        OPENING,
        *[of({"refusal": piece}) for piece in pieces("I can't help with that.")],
        of({}, "stop"),
        DONE,
        text="I can't help with that.",
        finish_reason="refusal",
    ),
    "tool": answered(
        of({"role": "assistant", "content": None, "tool_calls": [CALL]}),
        of({"tool_calls": [{"index": 0, "function": {"arguments": '"Łódź"}'}}]}),
        of({}, "tool_calls"),
        DONE,
        finish_reason="tool_calls",
    ),
    "text and a tool": answered(
        OPENING,
        *said(HALF),
        of({"tool_calls": [CALL]}),
        of({}, "tool_calls"),
        DONE,
        text=HALF,
        finish_reason="tool_calls",
    ),
    "empty": answered(OPENING, of({"content": ""}), of({}, "stop"), DONE, finish_reason="stop"),
    "blanks": answered(OPENING, of({"content": " \n\n"}), of({}, "stop"), DONE, text=" \n\n", finish_reason="stop"),
    "no reason, but an end": answered(OPENING, *said(ANSWER), DONE, text=ANSWER, finish_reason="stop"),
    "neither reason nor end": answered(OPENING, *said(HALF), text=HALF, error=ErrorKind.BROKEN_STREAM),
    "error in the stream": answered(OPENING, *said(HALF), SORRY, text=HALF, error=ErrorKind.SERVER_ERROR),
    "wrong key": refused(
        401,
        error("Incorrect API key provided: sk-pr**************9abc.", "invalid_request_error", "invalid_api_key"),
        ErrorKind.UNAUTHORIZED,
    ),
    "wrong name": refused(
        404,
        error(
            "The model `gpt-9` does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
        ),
        ErrorKind.MODEL_NOT_FOUND,
    ),
    "quota": refused(
        429,
        error(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        ErrorKind.QUOTA,
    ),
    "too fast": refused(
        429,
        error(
            "Rate limit reached for gpt-5-mini in organization org-1 on tokens per min (TPM): Limit 200000, "
            "Used 199000, "
            "Requested 4200. Please try again in 12s.",
            "tokens",
            "rate_limit_exceeded",
        ),
        ErrorKind.RATE_LIMITED,
        headers={"Retry-After": "12", "retry-after-ms": "12000", "x-ratelimit-limit-tokens": "200000"},
        retry_after=12,
    ),
    "too long": refused(
        400,
        error(
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130100 tokens. "
            "Please reduce the length of the messages.",
            "invalid_request_error",
            "context_length_exceeded",
            "messages",
        ),
        ErrorKind.TOO_LONG,
        tokens=130100,
        limit=128000,
    ),
    "against its policy": refused(
        400,
        error(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            "invalid_request_error",
            "invalid_prompt",
        ),
        ErrorKind.FILTERED,
    ),
    "its own error": refused(500, SORRY, ErrorKind.SERVER_ERROR),
    "max_tokens has another name": refused(
        400,
        error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            "invalid_request_error",
            "unsupported_parameter",
            "max_tokens",
        ),
        refuses="max_tokens",
    ),
    "one temperature only": refused(
        400,
        error(
            "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value "
            "is supported.",
            "invalid_request_error",
            "unsupported_value",
            "temperature",
        ),
        refuses="temperature",
        table="temperature = 0.5",
    ),
    "something else is wrong": refused(
        400,
        error("Invalid 'messages[0].name': string does not match pattern.", "invalid_request_error", "invalid_value"),
        ErrorKind.REJECTED,
    ),
}
