"""Ollama's OpenAI endpoint (docs.ollama.com/api/openai-compatibility), of several ages."""

from functools import partial
from typing import Any

from core.llm.providers.base import ErrorKind, Usage
from tests.servers.case import ANSWER, DONE, HALF, THOUGHT, Case, answered, chunk, counted, pieces, refused

of = partial(chunk, model="qwen3:8b", system_fingerprint="fp_ollama")
USAGE = {**of(), "choices": [], "usage": counted(26, 34)}


def said(text: str) -> list[dict[str, Any]]:
    return [of({"role": "assistant", "content": piece}) for piece in pieces(text)]


def ended(reason: str) -> dict[str, Any]:
    return of({"role": "assistant", "content": ""}, reason)


def error(message: str, kind: str = "api_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


CASES: dict[str, Case] = {
    "plain": answered(
        *said(ANSWER), ended("stop"), USAGE, DONE, text=ANSWER, finish_reason="stop", usage=Usage(26, 34)
    ),
    "thinking": answered(
        *[of({"role": "assistant", "content": "", "reasoning": piece}) for piece in pieces(THOUGHT)],
        *said(ANSWER),
        ended("stop"),
        DONE,
        thinking=THOUGHT,
        text=ANSWER,
        finish_reason="stop",
    ),
    "thinking in tags": answered(
        *said(f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"),
        ended("stop"),
        DONE,
        thinking=THOUGHT + "\n",
        text=ANSWER,
        finish_reason="stop",
        table="think_tags = true",
    ),
    "thinking in tags, and nothing after it": answered(
        *said(f"<think>\n{THOUGHT}"),
        ended("length"),
        DONE,
        thinking=THOUGHT,
        finish_reason="length",
        table="think_tags = true",
    ),
    "tags where none are expected": answered(
        *said("<think> is a tag."), ended("stop"), DONE, text="<think> is a tag.", finish_reason="stop"
    ),
    "length": answered(*said(HALF), ended("length"), DONE, text=HALF, finish_reason="length"),
    "only loaded": answered(ended("load"), DONE, finish_reason="other"),
    "empty": answered(ended("stop"), USAGE, DONE, finish_reason="stop", usage=Usage(26, 34)),
    "tool": answered(
        of(
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "call_1", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            }
        ),
        ended("tool_calls"),
        DONE,
        finish_reason="tool_calls",
    ),
    "error in the stream": answered(
        *said(HALF),
        error("an error was encountered while running the model: unexpected EOF"),
        text=HALF,
        error=ErrorKind.SERVER_ERROR,
    ),
    "wrong name": refused(
        404, error('model "none" not found, try pulling it first', "not_found_error"), ErrorKind.MODEL_NOT_FOUND
    ),
    "wrong name, in an older one's words": refused(
        404, {"error": "model 'none' not found, try pulling it first"}, ErrorKind.MODEL_NOT_FOUND
    ),
    "its runner died": refused(
        500, error("llama runner process has terminated: exit status 2"), ErrorKind.SERVER_ERROR
    ),
    "a page of a proxy": Case(
        b"<html><body><h1>502 Bad Gateway</h1></body></html>",
        error=ErrorKind.SERVER_ERROR,
        status=502,
        headers={"Content-Type": "text/html"},
    ),
}
