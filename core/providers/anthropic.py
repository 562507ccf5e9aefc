"""The Anthropic wire protocol, its Messages API: Anthropic, and servers and gateways that speak it too."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import anthropic
import httpx2

from core.model_config import ModelConfig
from core.providers import Chunk, ChunkStream, ErrorKind, FinishReason, ProviderError, Turn, Usage, believable
from core.providers.wire import WireStream, http_client


class Anthropic:
    """One model on one server."""

    def __init__(self, config: ModelConfig, base_url: str, key: str) -> None:
        http = http_client(config)
        self._client = anthropic.Anthropic(
            base_url=base_url,
            api_key=key,
            # The SDK sends a bearer token; of the servers that speak this protocol, many look for this header.
            default_headers={"X-Api-Key": key},
            max_retries=0,
            http_client=http,
            timeout=http.timeout,
            open_telemetry=False,  # a trace could be given the conversation's words
        )
        self._options: dict[str, Any] = {"model": config.model, "max_tokens": config.max_tokens, "stream": True}
        if config.temperature is not None:
            self._options["temperature"] = config.temperature

    def open(self, turns: Sequence[Turn]) -> ChunkStream:
        """An answer to be."""
        conversation, left_out = _conversation(turns)
        return WireStream(lambda: self._ask({**self._options, **conversation}, left_out))

    def _ask(self, body: dict[str, Any], left_out: str) -> tuple[httpx2.Response, Iterator[Chunk]]:
        # Events as plain JSON: the SDK's own classes take time to build, and are not checked all the same.
        stream = self._client.post(
            "/v1/messages", body=body, cast_to=object, stream=True, stream_cls=anthropic.Stream[object]
        )
        return stream.response, _chunks(stream, _Repeated(left_out))


def _conversation(turns: Sequence[Turn]) -> tuple[dict[str, Any], str]:
    """The turns as the API takes them, and the whitespace at their end that it does not take.

    The API wants the system's text apart, roles that alternate, no turn that is blank, and no whitespace at the end
    of an answer that is to be gone on with.
    """
    spoken = [turn for turn in turns if turn.text.strip()]
    system = [turn.text for turn in spoken if turn.role == "system"]
    messages = [
        {"role": role, "content": "\n\n".join(turn.text for turn in same)}
        for role, same in groupby((turn for turn in spoken if turn.role != "system"), attrgetter("role"))
    ]
    if messages and messages[-1]["role"] == "assistant":
        messages[-1]["content"] = messages[-1]["content"].rstrip()
    last = turns[-1]
    left_out = last.text[len(last.text.rstrip()) :] if last.role == "assistant" else ""
    return {"messages": messages, **({"system": "\n\n".join(system)} if system else {})}, left_out


class _Repeated:
    """Drops the whitespace that was left out of a conversation's end when the model says it again."""

    def __init__(self, left_out: str) -> None:
        self._left_out = left_out

    def drop(self, text: str) -> str:
        while self._left_out and text.startswith(self._left_out[0]):
            self._left_out, text = self._left_out[1:], text[1:]
        if text:
            self._left_out = ""
        return text


FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}

ERRORS = {
    "authentication_error": ErrorKind.UNAUTHORIZED,
    "billing_error": ErrorKind.UNAUTHORIZED,
    "permission_error": ErrorKind.UNAUTHORIZED,
    "invalid_request_error": ErrorKind.REJECTED,
    "overloaded_error": ErrorKind.RATE_LIMITED,
    "rate_limit_error": ErrorKind.RATE_LIMITED,
    "timeout_error": ErrorKind.TIMEOUT,
}
"""What an error in the middle of a stream means. Before the stream, the HTTP status says it."""

PROMPT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""The counts that make up the prompt: what is read from a cache has been asked all the same."""


def _chunks(events: Iterable[Any], repeated: _Repeated) -> Iterator[Chunk]:
    """What events of another shape raise is taken for a broken stream. Types that are not known are passed over."""
    counted: Counter[str] = Counter()
    finished = False
    try:
        for event in events:
            match event:
                case {"type": "message_start", "message": {"usage": dict(usage)}}:
                    counted |= _numbers(usage)
                case {"type": "content_block_start", "content_block": {"type": "text", "text": text}}:
                    yield Chunk(repeated.drop(text or ""))
                case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}:
                    yield Chunk(repeated.drop(text or ""))
                case {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": thinking}}:
                    yield Chunk(thinking=thinking or "")
                case {"type": "ping"}:
                    yield Chunk()
                case {"type": "message_delta", "delta": dict(delta)}:
                    counted |= _numbers(event.get("usage") or {})
                    reason = delta.get("stop_reason")
                    finished = finished or bool(reason)
                    yield Chunk("", FINISH.get(reason, "other") if reason else None, _usage(counted))
                case {"type": "message_stop"}:
                    if not finished:
                        yield Chunk("", "other", _usage(counted))
                    return
    except anthropic.APIStatusError as error:  # an event of type `error`
        raise ProviderError(ERRORS.get(error.type or "", ErrorKind.SERVER_ERROR), "error in the stream") from None


def _numbers(usage: dict[str, Any]) -> Counter[str]:
    """Counts are of all tokens so far. A server may give a part of them at the start and a part at the end."""
    return Counter({name: count for name, count in usage.items() if isinstance(count, int)})


def _usage(counted: Counter[str]) -> Usage | None:
    return believable(sum(counted[name] for name in PROMPT), counted["output_tokens"]) if counted else None
