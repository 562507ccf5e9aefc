"""The OpenAI wire protocol: OpenAI, Ollama, vLLM, LM Studio, llama.cpp."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import httpx2
import openai

from core.model_config import ModelConfig
from core.providers import Chunk, ChunkStream, ErrorKind, FinishReason, ProviderError, Turn, believable
from core.providers.wire import WireStream, http_client, kind_of


class OpenAICompatible:
    """One model on one server."""

    def __init__(self, config: ModelConfig, base_url: str, key: str) -> None:
        http = http_client(config)
        self._client = openai.OpenAI(
            base_url=base_url, api_key=key, max_retries=0, http_client=http, timeout=http.timeout
        )
        # OpenAI's newer models refuse the old name of the limit; other servers may not know the new one.
        limit = "max_completion_tokens" if self._client.base_url.host == "api.openai.com" else "max_tokens"
        self._options = {
            "model": config.model,
            limit: config.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if config.temperature is not None:
            self._options["temperature"] = config.temperature

    def open(self, turns: Sequence[Turn]) -> ChunkStream:
        """An answer to be."""
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        return WireStream(lambda: self._ask({**self._options, "messages": messages}))

    def _ask(self, body: dict[str, Any]) -> tuple[httpx2.Response, Iterator[Chunk]]:
        # Events as plain JSON: the SDK's own classes take 0.1 ms each to build, and are not checked all the same.
        stream = self._client.post(
            "/chat/completions", body=body, cast_to=object, stream=True, stream_cls=openai.Stream[object]
        )
        return stream.response, _chunks(stream)


FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
}


def _chunks(events: Iterable[Any]) -> Iterator[Chunk]:
    """What events of another shape raise is taken for a broken stream."""
    try:
        for event in events:
            match event.get("usage"):
                case {"prompt_tokens": prompt, "completion_tokens": completion}:
                    details = event["usage"].get("completion_tokens_details") or {}
                    yield Chunk(usage=believable(prompt, completion, details.get("reasoning_tokens", 0)))
            for choice in event.get("choices") or ():
                if choice.get("index"):  # one answer was asked for
                    continue
                delta, reason = choice.get("delta") or {}, choice.get("finish_reason")
                thinking = delta.get("reasoning_content") or delta.get("reasoning") or ""
                yield Chunk(
                    delta.get("content") or "", FINISH.get(reason, "other") if reason else None, thinking=thinking
                )
    except openai.APIConnectionError:
        raise
    except openai.APIError as error:  # an error object among the events
        code = error.code or ""
        kind = kind_of(int(code)) if code.isdecimal() and int(code) >= 400 else ErrorKind.SERVER_ERROR
        raise ProviderError(kind, "error in the stream") from None
