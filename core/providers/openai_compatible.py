"""The OpenAI wire protocol: OpenAI, Ollama, vLLM, LM Studio, llama.cpp."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any, cast

import httpx2
import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from core.model_config import ModelConfig
from core.providers import Chunk, ChunkStream, ErrorKind, ProviderError, Turn, Usage


class OpenAICompatible:
    """One model on one server."""

    def __init__(self, config: ModelConfig, base_url: str) -> None:
        self._config = config
        # The SDK wants some key; servers without authentication ignore it.
        api_key = os.environ.get(config.api_key_env, "") if config.api_key_env else ""
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            # A proxy of the environment is for the servers out there, not for the one on this machine.
            http_client=openai.DefaultHttpx2Client(trust_env=config.weights is None),
            timeout=httpx2.Timeout(
                connect=config.connect_timeout,
                # Between two reads of the socket; the pump watches the finer deadlines.
                read=max(config.first_token_timeout, config.between_tokens_timeout),
                write=10.0,
                pool=config.connect_timeout,
            ),
        )

    def open(self, turns: Sequence[Turn]) -> ChunkStream:
        """Ask, and return when the server has begun to answer. Raises ProviderError."""
        messages = [cast("ChatCompletionMessageParam", {"role": turn.role, "content": turn.text}) for turn in turns]
        with _translated():
            stream = self._client.chat.completions.create(
                model=self._config.model,
                messages=messages,
                max_tokens=self._config.max_tokens,
                temperature=openai.omit if self._config.temperature is None else self._config.temperature,
                stream=True,
                stream_options={"include_usage": True},
            )
        return _OpenAIStream(stream)


class _OpenAIStream:
    def __init__(self, stream: "openai.Stream[ChatCompletionChunk]") -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Chunk]:
        finished = False
        with _translated():
            for raw in self._stream:
                chunk = _read(raw)
                finished = finished or chunk.finish_reason is not None
                yield chunk
        if not finished:
            # The SDK takes a connection that just ends for the end of the answer.
            raise ProviderError(ErrorKind.BROKEN_STREAM, "ended without a finish reason")

    def abort(self) -> None:
        # Closing a socket does not wake a thread that reads from it; shutting it down does.
        network: Any = self._stream.response.extensions.get("network_stream")
        raw = network.get_extra_info("socket") if network is not None else None
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)


def _read(raw: ChatCompletionChunk) -> Chunk:
    choice = raw.choices[0] if raw.choices else None
    return Chunk(
        text=(choice.delta.content or "") if choice and choice.delta else "",
        finish_reason=choice.finish_reason if choice else None,
        usage=Usage(raw.usage.prompt_tokens, raw.usage.completion_tokens) if raw.usage else None,
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The SDK's errors in our words, without anything that the server wrote."""
    try:
        yield
    except openai.APITimeoutError as error:
        raise ProviderError(ErrorKind.TIMEOUT, "timeout") from error
    except openai.APIConnectionError as error:
        cause = error.__cause__
        dropped = isinstance(cause, httpx2.RemoteProtocolError | httpx2.ReadError)
        kind = ErrorKind.BROKEN_STREAM if dropped else ErrorKind.UNREACHABLE
        raise ProviderError(kind, type(cause).__name__) from error
    except openai.APIStatusError as error:
        wait = _seconds(error.response.headers.get("Retry-After"))
        raise ProviderError(_kind_of(error.status_code), f"HTTP {error.status_code}", wait) from error
    except openai.APIError as error:
        raise ProviderError(ErrorKind.SERVER_ERROR, "error in the stream") from error
    except json.JSONDecodeError as error:
        raise ProviderError(ErrorKind.BROKEN_STREAM, "not JSON") from error


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is as good as nothing said."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def _kind_of(status: int) -> ErrorKind:
    if status in (401, 403):
        return ErrorKind.UNAUTHORIZED
    if status == 429:
        return ErrorKind.RATE_LIMITED
    return ErrorKind.SERVER_ERROR if status >= 500 else ErrorKind.REJECTED
