"""vLLM's server (docs.vllm.ai: OpenAI-compatible server, reasoning outputs), of several ages."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, THOUGHT, Case, answered, chunk, counted, pieces, refused

of = partial(chunk, model="Qwen/Qwen3-8B", prompt_token_ids=None)
OPENING = of({"role": "assistant", "content": ""})


def said(text: str) -> list[dict[str, Any]]:
    """With `continuous_usage_stats`: each chunk counts what there is so far."""
    return [of({"content": piece}, usage=counted(15, at + 1)) for at, piece in enumerate(pieces(text))]


def ended(reason: str) -> dict[str, Any]:
    made = of({"content": ""}, reason)
    made["choices"][0].update(stop_reason=None, token_ids=None)
    return made


def error(message: str, kind: str, code: int, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


CASES: dict[str, Case] = {
    "plain": answered(
        OPENING,
        *said(ANSWER),
        ended("stop"),
        {**of(), "choices": [], "usage": counted(15, 21)},
        DONE,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(15, 21),
    ),
    "thinking": answered(
        OPENING,
        *[of({"reasoning": piece}) for piece in pieces(THOUGHT)],
        *said(ANSWER),
        ended("stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(15, len(pieces(ANSWER))),
    ),
    "thinking under its old name": answered(
        OPENING,
        *[of({"reasoning_content": piece}) for piece in pieces(THOUGHT)],
        of({"content": ANSWER}),
        ended("stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
    ),
    "thinking under both names": answered(
        OPENING,
        *[of({"reasoning": piece, "reasoning_content": piece}) for piece in pieces(THOUGHT)],
        of({"content": ANSWER}),
        ended("stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
    ),
    "thinking in tags, the first in its template": answered(
        OPENING,
        of({"content": THOUGHT + "\n</th"}),
        of({"content": "ink>\n\n" + ANSWER}),
        ended("stop"),
        DONE,
        thinking=THOUGHT + "\n",
        text=ANSWER,
        finish_reason="stop",
        table='think_tags = "opened"',
    ),
    "length": answered(OPENING, of({"content": HALF}), ended("length"), DONE, text=HALF, finish_reason="length"),
    "given up": answered(OPENING, of({"content": HALF}), ended("abort"), DONE, text=HALF, finish_reason="other"),
    "empty": answered(OPENING, ended("stop"), DONE, finish_reason="stop"),
    "tool": answered(
        OPENING,
        of({"tool_calls": [{"id": "chatcmpl-tool-1", "type": "function", "index": 0, "function": {"name": "f"}}]}),
        of({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        ended("tool_calls"),
        DONE,
        finish_reason="tool_calls",
    ),
    "error in the stream": answered(
        OPENING,
        of({"content": HALF}),
        error("EngineCore encountered an issue. See stack trace for the root cause.", "InternalServerError", 500),
        DONE,
        text=HALF,
        error=ErrorKind.SERVER_ERROR,
    ),
    "too long": refused(
        400,
        error(
            "This model's maximum context length is 4096 tokens. However, your request has 5021 input tokens. "
            "Please reduce "
            "the length of the input messages. (parameter=input_tokens, value=5021)",
            "BadRequestError",
            400,
            "input_tokens",
        ),
        ErrorKind.TOO_LONG,
        tokens=5021,
        limit=4096,
    ),
    "too long, in an older one's words": refused(
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5421 tokens "
            "(5021 in the "
            "messages, 400 in the completion). Please reduce the length of the messages or completion.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        ErrorKind.TOO_LONG,
        limit=4096,
    ),
    "no room for the answer": refused(
        400,
        error(
            "'max_tokens' or 'max_completion_tokens' is too large: 400. This model's maximum context length is "
            "4096 tokens and "
            "your request has 3900 input tokens (400 > 4096 - 3900).",
            "BadRequestError",
            400,
            "max_tokens",
        ),
        ErrorKind.TOO_LONG,
        limit=4096,
    ),
    "roles in an order its template does not take": refused(
        400,
        error("Conversation roles must alternate user/assistant/user/assistant/...", "BadRequestError", 400),
        ErrorKind.REJECTED,
    ),
    "wrong name": refused(
        404, error("The model `none` does not exist.", "NotFoundError", 404, "model"), ErrorKind.MODEL_NOT_FOUND
    ),
    "wrong key": refused(401, {"error": "Unauthorized"}, ErrorKind.UNAUTHORIZED),
}
