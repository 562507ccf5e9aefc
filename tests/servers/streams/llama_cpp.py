"""llama.cpp's server (github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md)."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, THOUGHT, Case, answered, chunk, counted, pieces, refused

of = partial(chunk, model="smollm2", system_fingerprint="b8211-e5d2cfeb")
OPENING = of({"role": "assistant", "content": None})
USAGE = {**of(), "choices": [], "usage": counted(31, 18), "timings": {"prompt_n": 31, "predicted_per_second": 40.1}}


def said(text: str) -> list[dict[str, Any]]:
    return [of({"content": piece}) for piece in pieces(text)]


def error(code: int, message: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "type": kind, **more}}


CASES: dict[str, Case] = {
    "plain": answered(
        OPENING, *said(ANSWER), of({}, "stop"), USAGE, DONE, text=ANSWER, finish_reason="stop", usage=Usage(31, 18)
    ),
    "thinking": answered(
        OPENING,
        *[of({"reasoning_content": piece}) for piece in pieces(THOUGHT)],
        *said(ANSWER),
        of({}, "stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
    ),
    "thinking between paragraphs": answered(
        OPENING,
        of({"reasoning_content": "First. "}),
        of({"content": "One."}),
        of({"reasoning_content": "Second."}),
        of({"content": " Two."}),
        of({}, "stop"),
        DONE,
        thinking="First. Second.",
        text="One. Two.",
        finish_reason="stop",
    ),
    "length": answered(OPENING, *said(HALF), of({}, "length"), DONE, text=HALF, finish_reason="length"),
    "tool": answered(
        OPENING,
        of(
            {
                "tool_calls": [
                    {"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ]
            }
        ),
        of({}, "tool_calls"),
        DONE,
        finish_reason="tool_calls",
    ),
    "empty": answered(OPENING, of({}, "stop"), USAGE, DONE, finish_reason="stop", usage=Usage(31, 18)),
    "error in the stream": answered(
        OPENING, *said(HALF), error(500, "Compute error.", "server_error"), text=HALF, error=ErrorKind.SERVER_ERROR
    ),
    "too long": refused(
        400,
        error(
            400,
            "request (5021 tokens) exceeds the available context size (4096 tokens), try increasing it",
            "exceed_context_size_error",
            n_prompt_tokens=5021,
            n_ctx=4096,
        ),
        ErrorKind.TOO_LONG,
        tokens=5021,
        limit=4096,
    ),
    "loading": refused(503, error(503, "Loading model", "unavailable_error"), ErrorKind.SERVER_ERROR),
    "wrong key": refused(401, error(401, "Invalid API Key", "authentication_error"), ErrorKind.UNAUTHORIZED),
    "two answers to go on with": refused(
        400,
        error(400, "Cannot have 2 or more assistant messages at the end of the list.", "invalid_request_error"),
        ErrorKind.REJECTED,
    ),
}
