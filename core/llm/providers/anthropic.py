"""The Anthropic wire protocol, its Messages API: Anthropic, and servers and gateways that speak it too."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from core.llm.catalog_rules import LEAST_THINKING
from core.llm.model_config import ModelConfig
from core.llm.providers.answer import Interpreter
from core.llm.providers.base import (
    NO_SAMPLING,
    Chunk,
    ErrorKind,
    FinishReason,
    ProviderError,
    Sampling,
    Turn,
    Usage,
    believable,
)
from core.llm.providers.errors import RequestRefused, error_in
from core.llm.providers.events import DONE, ProviderEvent

PATH = "/v1/messages"
VERSION = "2023-06-01"
MAX_TEMPERATURE = 1.0
"""The greatest that the API takes; elsewhere it is 2."""


class Anthropic:
    """How a model is asked in this protocol."""

    path = PATH
    required = frozenset({"max_tokens"})

    def __init__(self, config: ModelConfig, host: str) -> None:
        self._config = config

    def headers(self, key: str) -> dict[str, str]:
        """What shows the key: Anthropic takes either, and of the others some look for the one or the other."""
        return {"Authorization": f"Bearer {key}", "X-Api-Key": key, "anthropic-version": VERSION}

    def parameters(self, limit: int, sampling: Sampling = NO_SAMPLING) -> dict[str, Any]:
        """What a request has besides the conversation; `limit`: tokens of the answer and its thinking."""
        config = self._config
        more: dict[str, Any] = {}
        # What the answer does not need, and half of the limit where that is too little for both.
        budget = min(config.thinking_budget or 0, max(limit - config.max_tokens, limit // 2))
        temperature = config.temperature if sampling.temperature is None else sampling.temperature
        if budget >= LEAST_THINKING:  # a model that thinks takes no temperature
            more["thinking"] = {"type": "enabled", "budget_tokens": budget}
        elif temperature is not None:
            more["temperature"] = min(temperature, MAX_TEMPERATURE)
        elif sampling.top_p is not None:  # newer models refuse both at once
            more["top_p"] = sampling.top_p
        if stop := [sequence for sequence in sampling.stop if sequence.strip()]:  # blank ones are refused
            more["stop_sequences"] = stop
        if sampling.user is not None:
            more["metadata"] = {"user_id": sampling.user}
        if config.reasoning_effort is not None:
            more["output_config"] = {"effort": config.reasoning_effort}
        return {"max_tokens": limit, **more}

    def conversation(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """The turns as the API takes them: the system's text apart, roles that alternate, and no turn that is
        blank."""
        spoken = [turn for turn in turns if turn.text.strip()]
        system = [turn.text for turn in spoken if turn.role == "system"]
        messages = [
            {"role": role, "content": "\n\n".join(turn.text for turn in same)}
            for role, same in groupby((turn for turn in spoken if turn.role != "system"), attrgetter("role"))
        ]
        return {"messages": messages, **({"system": "\n\n".join(system)} if system else {})}

    def interpreter(self, turns: Sequence[Turn], limit: int) -> Interpreter:
        """For the answer to these turns."""
        return MessageInterpreter()


FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}

PROMPT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""The counts that make up the prompt: what is read from a cache has been asked all the same."""


class MessageInterpreter:
    """What the events of one answer mean. Types that are not known are signs of life, and no more."""

    def __init__(self) -> None:
        self.over = False
        self.refuses = False
        self._wrote = False
        self._counted: Counter[str] = Counter()
        self._finished = False

    def feed(self, event: ProviderEvent) -> Iterator[Chunk]:
        if event.data == DONE:  # gateways
            yield from self._stop()
            return
        if complaint := error_in(event.data, event.name):
            raise RequestRefused(complaint)
        if event.is_padding:
            yield Chunk()
            return
        if event.whole:
            yield from self._document(event.data)
            return
        match event.data:
            case {"type": "message_start", "message": {"usage": dict(usage)}}:
                self._counted |= _numbers(usage)
                yield Chunk()
            case {"type": "content_block_start", "content_block": dict(block)}:
                yield self._block(block)
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}:
                yield self._text(text)
            case {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": thinking}}:
                yield Chunk(thinking=thinking or "")
            case {"type": "message_delta", "delta": dict(delta)}:
                self._counted |= _numbers(event.data.get("usage"))
                yield self._end(delta.get("stop_reason"))
            case {"type": "message_stop"}:
                yield from self._stop()
            case _:
                yield Chunk()

    def _text(self, text: str | None) -> Chunk:
        self._wrote = self._wrote or bool(text)
        return Chunk(text or "")

    def _block(self, block: dict[str, Any]) -> Chunk:
        match block:
            case {"type": "text", "text": text}:
                return self._text(text)
            case {"type": "thinking", "thinking": thinking}:
                return Chunk(thinking=thinking or "")
        return Chunk()

    def _document(self, data: dict[str, Any]) -> Iterator[Chunk]:
        """A whole message where a stream was asked for."""
        blocks = data.get("content")
        if not isinstance(blocks, list):
            raise ProviderError(ErrorKind.BROKEN_STREAM, "a document that is no answer")
        yield from map(self._block, blocks)
        self._counted |= _numbers(data.get("usage"))
        self.over = True
        yield self._end(data.get("stop_reason") or "end_turn")

    def _stop(self) -> Iterator[Chunk]:
        self.over = True
        yield Chunk() if self._finished else self._end("end_turn")

    def _end(self, reason: str | None) -> Chunk:
        self._finished = self._finished or bool(reason)
        return Chunk("", FINISH.get(reason, "other") if reason else None, self._usage())

    def _usage(self) -> Usage | None:
        counted = self._counted
        if not counted or (self._wrote and not counted["output_tokens"]):  # text is not made of no tokens
            return None
        return believable(sum(counted[name] for name in PROMPT), counted["output_tokens"])


def _numbers(usage: Any) -> Counter[str]:
    """Counts are of all tokens so far. A server may give a part of them at the start and a part at the end."""
    counts = usage if isinstance(usage, dict) else {}
    return Counter({name: count for name, count in counts.items() if type(count) is int})
