"""Azure OpenAI, with its filter's results (learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter)."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, Case, answered, chunk, counted, pieces, refused

of = partial(chunk, model="gpt-4o-2024-11-20", system_fingerprint="fp_ee1d74bde0")
SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
HATE = {**SAFE, "hate": {"filtered": True, "severity": "high"}}


def judged(delta: Any, reason: str | None = None, results: Any = SAFE) -> dict[str, Any]:
    made = of(delta, reason)
    made["choices"][0]["content_filter_results"] = results
    return made


PROMPT = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "choices": [],
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
}
"""The first chunk, which has no choice."""
LATE = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "choices": [
        {
            "index": 0,
            "finish_reason": None,
            "content_filter_results": SAFE,
            "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
        }
    ],
    "usage": None,
}
"""What the asynchronous filter adds: a choice without a delta."""
OPENING = judged({"role": "assistant", "content": "", "refusal": None}, results={})
USAGE = {**of(), "choices": [], "usage": counted(19, 12, 0)}


def said(text: str) -> list[dict[str, Any]]:
    return [judged({"content": piece}) for piece in pieces(text)]


def error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


CASES: dict[str, Case] = {
    "plain": answered(
        PROMPT,
        OPENING,
        *said(ANSWER),
        judged({}, "stop", {}),
        USAGE,
        DONE,
        text=ANSWER,
        finish_reason="stop",
        usage=Usage(19, 12),
    ),
    "asynchronous filter": answered(
        PROMPT, OPENING, *said(ANSWER), LATE, of(None, "stop"), LATE, DONE, text=ANSWER, finish_reason="stop"
    ),
    "length": answered(PROMPT, OPENING, *said(HALF), judged({}, "length"), DONE, text=HALF, finish_reason="length"),
    "filter in the answer": answered(
        PROMPT,
        OPENING,
        *said(HALF),
        judged({}, "content_filter", HATE),
        DONE,
        text=HALF,
        finish_reason="content_filter",
    ),
    "filter before a word": answered(
        PROMPT, judged({}, "content_filter", HATE), DONE, finish_reason="content_filter"
    ),
    "filter of the question": refused(
        400,
        error(
            "content_filter",
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please "
            "modify your prompt and retry.",
            type=None,
            param="prompt",
            status=400,
            innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": HATE},
        ),
        ErrorKind.FILTERED,
    ),
    "error in the stream": answered(
        PROMPT,
        OPENING,
        *said(HALF),
        {
            "error": {
                "message": "The server had an error processing your request.",
                "type": "server_error",
                "code": "500",
            }
        },
        text=HALF,
        error=ErrorKind.SERVER_ERROR,
    ),
    "wrong key": refused(
        401,
        error("401", "Access denied due to invalid subscription key or wrong API endpoint."),
        ErrorKind.UNAUTHORIZED,
    ),
    "wrong key, told by the gateway": refused(
        401,
        {"statusCode": 401, "message": "Unauthorized. Access token is missing or expired."},
        ErrorKind.UNAUTHORIZED,
    ),
    "wrong name": refused(
        404,
        error("DeploymentNotFound", "The API deployment for this resource does not exist."),
        ErrorKind.MODEL_NOT_FOUND,
    ),
    "too fast": refused(
        429,
        error(
            "429",
            "Requests to the ChatCompletions_Create Operation have exceeded token rate limit of your current "
            "OpenAI S0 "
            "pricing tier. Please retry after 26 seconds.",
        ),
        ErrorKind.RATE_LIMITED,
        headers={"retry-after": "26", "retry-after-ms": "26000"},
        retry_after=26,
    ),
    "empty": answered(PROMPT, OPENING, judged({}, "stop"), DONE, finish_reason="stop"),
}
