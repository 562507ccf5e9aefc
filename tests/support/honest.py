"""Model servers that count the tokens they are asked with, and refuse more than their context holds, in the words of
those that do."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.support.provider import Handler, Manner


class Count(NamedTuple):
    """Of one request."""

    prompt: int
    answer: int
    """The most that it asks for."""
    context: int


Words = Callable[[Count], tuple[int, dict[str, Any]]]
"""A refusal: its status and its body."""


def _openai(count: Count) -> tuple[int, dict[str, Any]]:
    message = (
        f"This model's maximum context length is {count.context} tokens. However, your messages resulted in "
        f"{count.prompt} tokens. Please reduce the length of the messages."
    )
    return 400, _error(message, type="invalid_request_error", param="messages", code="context_length_exceeded")


def _vllm(count: Count) -> tuple[int, dict[str, Any]]:
    message = (
        f"This model's maximum context length is {count.context} tokens. However, you requested "
        f"{count.prompt + count.answer} tokens ({count.prompt} in the messages, {count.answer} in the completion). "
        "Please reduce the length of the messages or completion."
    )
    return 400, _error(message, type="BadRequestError", param=None, code=400)


def _llama(count: Count) -> tuple[int, dict[str, Any]]:
    message = (
        f"request ({count.prompt} tokens) exceeds the available context size ({count.context} tokens), "
        "try increasing it"
    )
    figures = {"n_prompt_tokens": count.prompt, "n_ctx": count.context}
    return 400, _error(message, code=400, type="exceed_context_size_error", **figures)


def _anthropic(count: Count) -> tuple[int, dict[str, Any]]:
    message = f"prompt is too long: {count.prompt} tokens > {count.context} maximum"
    return 400, {"type": "error", **_error(message, type="invalid_request_error")}


def _groq(count: Count) -> tuple[int, dict[str, Any]]:
    message = (
        "Request too large for model `m` in organization `org_1` on tokens per minute (TPM): "
        f"Limit {count.context}, Requested {count.prompt + count.answer}, please reduce your message size and try "
        "again."
    )
    return 413, _error(message, type="tokens", code="rate_limit_exceeded")


def _without_figures(_: Count) -> tuple[int, dict[str, Any]]:
    return 400, _error("the input length exceeds the context length", type="invalid_request_error", code=None)


def _error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


REFUSALS: dict[str, Words] = {
    "openai": _openai,
    "vllm": _vllm,
    "llama": _llama,
    "anthropic": _anthropic,
    "groq": _groq,
    "without-figures": _without_figures,
}
COUNT_THE_ANSWER = {"openai", "vllm", "groq"}
"""Those whose context, or whose rate, must hold the answer, too, as long as it may be."""


def bytes_of(text: str) -> int:
    """Tokens, for a tokenizer to which everything is new."""
    return len(text.encode())


def words_of(text: str) -> int:
    """Tokens, for one that knows all words."""
    return len(text.split())


def said(request: dict[str, Any]) -> list[dict[str, str]]:
    """All turns of a request, whatever its protocol."""
    system = [{"role": "system", "content": request["system"]}] if request.get("system") else []
    return [*system, *request["messages"]]


def honest(
    context: int, words: str = "openai", tokens: Callable[[str], int] = bytes_of, cut: bool = False
) -> "Manner":
    """A server with so many tokens of context. It says how many turns it has read, and how long they are; when it is
    `cut`, it breaks off in the middle of that, unless it is asked to go on."""

    def manner(handler: "Handler") -> None:
        request = handler.owner.requests[-1]
        turns = said(request)
        prompt = sum(tokens(turn["content"]) + 1 for turn in turns)
        answer = request.get("max_tokens") or request["max_completion_tokens"]
        if prompt + (answer if words in COUNT_THE_ANSWER else 1) > context:
            status, body = REFUSALS[words](Count(prompt, answer, context))
            handler.head(status, "application/json")
            handler.say(json.dumps(body))
            return
        handler.begin()
        if cut and turns[-1]["role"] == "user" and "broke off" not in turns[-1]["content"]:
            handler.chunk("Half of an answer. " * 12)
            return
        handler.chunk(f"Read {len(turns)} turns.")
        handler.say(counted(handler.dialect.path, prompt))
        handler.conclude(usage=False)

    return manner


def counted(path: str, prompt: int) -> str:
    """A report of usage in the middle of an answer."""
    if path == "/messages":
        usage = {"input_tokens": prompt, "output_tokens": 3}
        return f"event: message_delta\ndata: {json.dumps({'type': 'message_delta', 'delta': {}, 'usage': usage})}\n\n"
    usage = {"prompt_tokens": prompt, "completion_tokens": 3, "total_tokens": prompt + 3}
    return f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
