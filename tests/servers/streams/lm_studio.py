"""LM Studio's server (lmstudio.ai/docs/developer/openai-compat)."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, THOUGHT, Case, answered, chunk, counted, pieces, refused, whole

of = partial(chunk, model="qwen/qwen3-4b", system_fingerprint="qwen/qwen3-4b")


def said(text: str) -> list[dict[str, Any]]:
    return [of({"role": "assistant", "content": piece}) for piece in pieces(text)]


def failed(message: str) -> tuple[str, dict[str, Any]]:
    return "error", {"error": {"message": message}, "message": message}


KEEP = (
    "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 13055>= "
    "n_ctx: 4096). "
    "Try to load the model with a larger context length, or provide a shorter input"
)
OVERFLOWS = (
    "Trying to keep the first 13055 tokens when context the overflows. However, the model is loaded with "
    "context length of "
    "only 4096 tokens, which is not enough."
)
FULL = (
    "Reached context length of 4096 tokens with model (arch: qwen2) that does not currently support mid-generation "
    "context overflow."
)

CASES: dict[str, Case] = {
    "plain": answered(
        *said(ANSWER),
        of({}, "stop"),
        {**of(), "choices": [], "usage": counted(17, 23)},
        DONE,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(17, 23),
    ),
    "thinking": answered(
        *[of({"role": "assistant", "reasoning_content": piece}) for piece in pieces(THOUGHT)],
        *said(ANSWER),
        of({}, "stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
    ),
    "length": answered(*said(HALF), of({}, "length"), DONE, text=HALF, finish_reason="length"),
    "tool": answered(
        of(
            {
                "role": "assistant",
                "tool_calls": [
                    {"index": 0, "id": "365174485", "type": "function", "function": {"name": "f", "arguments": ""}}
                ],
            }
        ),
        of({"tool_calls": [{"index": 0, "function": {"name": "", "arguments": "{}"}}]}),
        of({}, "tool_calls"),
        DONE,
        finish_reason="tool_calls",
    ),
    "empty": answered(of({}, "stop"), DONE, finish_reason="stop"),
    "too long, told in the stream": answered(failed(KEEP), error=ErrorKind.TOO_LONG, tokens=13055, limit=4096),
    "too long, in an older one's words": answered(
        failed(OVERFLOWS), error=ErrorKind.TOO_LONG, tokens=13055, limit=4096
    ),
    "too long": refused(400, {"error": KEEP}, ErrorKind.TOO_LONG, tokens=13055, limit=4096),
    "full in the middle of the answer": answered(*said(HALF), failed(FULL), text=HALF, finish_reason="length"),
    "full before the answer": answered(failed(FULL), error=ErrorKind.TOO_LONG, limit=4096),
    "wrong address": whole(
        {"error": "Unexpected endpoint or method. (POST /chat/completions). Returning 200 anyway"},
        error=ErrorKind.UNREACHABLE,
    ),
    "crashed at once": refused(
        400, {"error": "The model has crashed without additional information."}, ErrorKind.SERVER_ERROR
    ),
    "crashed": answered(
        *said(HALF),
        failed("The model has crashed without additional information. (Exit code: null)"),
        text=HALF,
        error=ErrorKind.SERVER_ERROR,
    ),
    "wrong name": refused(
        404,
        {
            "error": {
                "message": 'Model "none" not found.',
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
        },
        ErrorKind.MODEL_NOT_FOUND,
    ),
    "roles in an order its template does not take": refused(
        400,
        {"error": 'Error rendering prompt with jinja template: "Conversation roles must alternate".'},
        ErrorKind.REJECTED,
    ),
}
