"""Refusals of many more, each in words of its own: what is told must not depend on who says it."""

from typing import Any

from core.llm.providers.base import ErrorKind
from tests.servers.case import ANSWER, DONE, THOUGHT, Case, answered, chunk, pieces, refused, said, whole


def error(message: str, kind: str | None = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, **more}}


WELL: dict[str, Any] = {"text": ANSWER, "finish_reason": "stop"}
EFFORT = 'reasoning_effort = "low"'

CASES: dict[str, Case] = {
    "TGI, too long": refused(
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5021 "
            "`inputs` tokens and 400 `max_new_tokens`",
            "error_type": "validation",
        },
        ErrorKind.TOO_LONG,
        tokens=5021,
        limit=4096,
    ),
    "TGI, overloaded": refused(
        429, {"error": "Model is overloaded", "error_type": "overloaded"}, ErrorKind.RATE_LIMITED
    ),
    "SGLang, too long": refused(
        400,
        {
            "object": "error",
            "message": "The input (5021 tokens) is longer than the model's context length (4096 tokens).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        ErrorKind.TOO_LONG,
        tokens=5021,
        limit=4096,
    ),
    "dasLLAMA, too long": refused(
        400,
        error("the rendered prompt is 5021 tokens; the model context is 4096 — shorten it", "invalid_request_error"),
        ErrorKind.TOO_LONG,
        tokens=5021,
        limit=4096,
    ),
    "xAI, too long": refused(
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
        },
        ErrorKind.TOO_LONG,
        tokens=140000,
        limit=131072,
    ),
    "xAI, wrong key": refused(
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***yz."},
        ErrorKind.UNAUTHORIZED,
    ),
    "Cohere, too long": refused(
        400,
        {
            "message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5021. "
            "Try using a shorter prompt"
        },
        ErrorKind.TOO_LONG,
        tokens=5021,
        limit=4081,
    ),
    "Fireworks, wrong name": refused(
        404,
        error("Model not found, inaccessible, and/or not deployed", "invalid_request_error", code="NOT_FOUND"),
        ErrorKind.MODEL_NOT_FOUND,
    ),
    "LiteLLM, wrong name": refused(
        400,
        error("/chat/completions: Invalid model name passed in model=none.", "invalid_request_error", code="400"),
        ErrorKind.MODEL_NOT_FOUND,
    ),
    "LiteLLM, no budget": refused(
        400,
        error("Budget has been exceeded! Current cost: 10.2, Max budget: 10.0", "budget_exceeded", code="400"),
        ErrorKind.QUOTA,
    ),
    "Hugging Face, no credits": refused(
        402, {"error": "You have exceeded your monthly included credits for Inference Providers."}, ErrorKind.QUOTA
    ),
    "Qwen, filter of the question": refused(
        400,
        error(
            "Input data may contain inappropriate content.", "data_inspection_failed", code="data_inspection_failed"
        ),
        ErrorKind.FILTERED,
    ),
    "a limit of the answer": refused(
        400,
        error(
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you "
            "provided 100000.",
            "invalid_request_error",
            code="invalid_value",
        ),
        ErrorKind.REJECTED,
    ),
    "Groq's words for a limit of the answer": refused(
        400,
        error("`max_tokens` must be less than or equal to `8192`, the maximum value for it", param="max_tokens"),
        ErrorKind.REJECTED,
    ),
    "OpenRouter, tokens that are not paid": refused(
        402, {"error": {"code": 402, "message": "Prompt tokens limit exceeded: 5021 > 1462."}}, ErrorKind.QUOTA
    ),
    "Bedrock, a rate of tokens": refused(
        429, {"message": "Too many tokens, please wait before trying again."}, ErrorKind.RATE_LIMITED
    ),
    "MiniMax, no balance": answered(
        {"id": "x", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        error=ErrorKind.QUOTA,
    ),
    "MiniMax, filter": whole(
        {"choices": None, "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}},
        error=ErrorKind.FILTERED,
    ),
    "MiniMax, well": answered(
        *said(ANSWER, base_resp={"status_code": 0, "status_msg": ""}), chunk({}, "stop"), DONE, **WELL
    ),
    "Cloudflare, no success": whole(
        {"success": False, "errors": [{"code": 7009, "message": "Upstream service unavailable"}], "result": None},
        error=ErrorKind.SERVER_ERROR,
    ),
    "a gateway, an empty error beside what is well": answered(
        *said(ANSWER, error={"code": 0, "message": ""}), chunk({}, "stop", error={}), DONE, **WELL
    ),
    "LiteLLM, thinking": answered(
        *[
            chunk({"thinking_blocks": [{"type": "thinking", "thinking": piece}], "reasoning_content": piece})
            for piece in pieces(THOUGHT)
        ],
        *said(ANSWER),
        chunk({}, "stop"),
        DONE,
        thinking=THOUGHT,
        **WELL,
    ),
    "a tag that is left over": answered(
        *[chunk({"reasoning_content": piece}) for piece in pieces(THOUGHT)],
        *said(f"</think>\n\n{ANSWER}"),
        chunk({}, "stop"),
        DONE,
        thinking=THOUGHT,
        **WELL,
    ),
    "Magistral, thinking in tags": answered(
        *said(f"[THINK]{THOUGHT}[/THINK]{ANSWER}"),
        chunk({}, "stop"),
        DONE,
        thinking=THOUGHT,
        table="think_tags = true",
        **WELL,
    ),
    "no tag where one was to come": answered(
        *said(ANSWER), chunk({}, "stop"), DONE, thinking=ANSWER, table='think_tags = "opened"', **WELL
    ),
    "a tool without saying so": answered(
        chunk({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}]}),
        chunk({}, "stop"),
        DONE,
        finish_reason="tool_calls",
    ),
    "a reason in words that is none": answered(
        chunk({"content": ANSWER[:5]}, "null"), *said(ANSWER[5:]), chunk({}, "stop"), DONE, **WELL
    ),
    "effort under another name": refused(
        400,
        error("Model grok-4 does not support parameter reasoningEffort."),
        refuses="reasoning_effort",
        table=EFFORT,
    ),
    "effort where nothing is thought": refused(
        400, error('"gemma3:4b" does not support thinking'), refuses="reasoning_effort", table=EFFORT
    ),
    "a page that wants a browser": Case(
        b"<!DOCTYPE html><title>Attention Required!</title>",
        error=ErrorKind.FILTERED,
        status=403,
        headers={"Content-Type": "text/html; charset=UTF-8"},
    ),
}
