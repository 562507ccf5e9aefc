"""A model on a server: what it is asked with, what it has been seen to refuse, and its answers."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from core.masking import secrets_of
from core.model_config import ModelConfig
from core.providers import Chunk, ChunkStream, ProviderError, Turn
from core.providers.answer import Answer, Interpreter
from core.providers.anthropic import Anthropic
from core.providers.errors import Complaint, Refused, as_provider_error
from core.providers.openai_compatible import OpenAICompatible
from core.providers.parameters import SYSTEM, Adjustment, adjusted, refused, without_system
from core.providers.redaction import redacted
from core.providers.think_tags import ThinkTags
from core.providers.wire import Call, api_key, endpoint, http_client

ALLOWANCE = 8192
"""Tokens that a model which thinks may do so for at the most, when its table does not say."""
BYTES_PER_TOKEN = 3


class WireProtocol(Protocol):
    """How a model is asked in one of the protocols."""

    path: str
    """Of a request, after the server's address."""
    required: frozenset[str]
    """Parameters that a request can't do without."""

    def headers(self, key: str) -> dict[str, str]: ...

    def parameters(self, limit: int) -> dict[str, Any]: ...

    def conversation(self, turns: Sequence[Turn]) -> dict[str, Any]: ...

    def interpreter(self, turns: Sequence[Turn]) -> Interpreter: ...


class Model:
    """One model on one server."""

    def __init__(self, protocol: WireProtocol, config: ModelConfig, base_url: str, key: str) -> None:
        """Raises ProviderError when no client can be made."""
        self.protocol = protocol
        self.config = config
        self.url = endpoint(base_url, protocol.path)
        self.client = http_client(config, self.url)
        self.key = key
        self.headers = protocol.headers(key)
        self.adjustment = Adjustment(frozenset(config.omit), config.rename)
        """What the table says, and what has been learned from refusals."""
        self.thinks = False
        """Whether the model has been seen thinking."""

    def open(self, turns: Sequence[Turn]) -> ChunkStream:
        """An answer to be."""
        return ModelAnswer(self, turns)

    def body(self, turns: Sequence[Turn], adjustment: Adjustment) -> dict[str, Any]:
        """What the server is asked with."""
        config = self.config
        said = without_system(turns) if SYSTEM in adjustment.omit else turns
        parameters = self.protocol.parameters(limit(config, turns, thinks=self.thinks))
        fixed = {"model": config.model, "stream": True, **self.protocol.conversation(said)}
        return {**fixed, **adjusted(parameters, adjustment), **config.extra_body}

    def saw(self, chunk: Chunk) -> None:
        """A chunk has come."""
        if chunk.thinking or (chunk.usage and chunk.usage.reasoning_tokens):
            self.thinks = True


def limit(config: ModelConfig, turns: Sequence[Turn], *, thinks: bool) -> int:
    """How many tokens an answer may have, the thinking before it included, which is not to be taken from it."""
    if config.thinking_budget is not None:
        return config.max_tokens + config.thinking_budget
    if not thinks:
        return config.max_tokens
    asked = sum(len(turn.text.encode(errors="replace")) for turn in turns) // BYTES_PER_TOKEN
    room = config.context_tokens - config.max_tokens - asked  # some servers refuse what might not fit
    return config.max_tokens + max(0, min(ALLOWANCE, config.context_tokens // 4, room))


PROTOCOLS: dict[str, Callable[[ModelConfig, str], WireProtocol]] = {
    "openai": OpenAICompatible,
    "anthropic": Anthropic,
}


def make(config: ModelConfig, base_url: str, local_key: str) -> Model:
    """The model of this table. Raises ProviderError when it can't be asked."""
    key = api_key(config, local_key)
    protocol = PROTOCOLS[config.provider](config, urlsplit(base_url).hostname or "")
    return Model(protocol, config, base_url, key)


class ModelAnswer:
    """A ChunkStream. A request that is refused for one of its parameters is sent once more without it."""

    def __init__(self, model: Model, turns: Sequence[Turn]) -> None:
        self._model = model
        self._turns = turns
        self._call = Call()
        self._begun = False

    def __iter__(self) -> Iterator[Chunk]:
        model = self._model
        before = model.adjustment
        try:
            yield from self._ask(before)
        except Refused as first:
            learned = self._learned(first.complaint, before)
            if self._begun or not learned.changes:
                raise self._told(first.complaint) from None
            try:
                yield from self._ask(before | learned, learned)
            except Refused as second:
                if self._learned(second.complaint, before | learned).changes:  # of the first, it is cured
                    model.adjustment |= learned
                raise self._told(second.complaint) from None

    def abort(self) -> None:
        self._call.abort()

    def _ask(self, adjustment: Adjustment, learned: Adjustment | None = None) -> Iterator[Chunk]:
        model = self._model
        body = json.dumps(model.body(self._turns, adjustment), ensure_ascii=False).encode(errors="replace")
        answer = Answer(model.protocol.interpreter(self._turns), self._tags())
        pieces = self._call.send(model.client, model.url, model.headers, body)
        try:
            while not answer.over:
                try:
                    piece = next(pieces, None)
                except ProviderError as error:
                    answer.broken(error)
                    break
                for chunk in answer.end() if piece is None else answer.feed(piece):
                    model.saw(chunk)
                    self._begun = self._begun or bool(chunk.text or chunk.thinking)
                    if learned and (self._begun or chunk.finish_reason):
                        model.adjustment |= learned
                    yield chunk
                if piece is None:
                    break
        finally:
            pieces.close()

    def _learned(self, complaint: Complaint, adjustment: Adjustment) -> Adjustment:
        protocol = self._model.protocol
        sent = protocol.parameters(0).keys() - protocol.required
        return refused(complaint, sent, adjustment, system=any(turn.role == "system" for turn in self._turns))

    def _told(self, complaint: Complaint) -> ProviderError:
        model = self._model
        texts = (turn.text for turn in self._turns)
        said = redacted(complaint.message, texts, model.key, *secrets_of(model.url), names=[model.config.model])
        return as_provider_error(complaint, said)

    def _tags(self) -> ThinkTags | None:
        # What goes on with an answer is past its thinking.
        if not self._model.config.think_tags or self._turns[-1].role == "assistant":
            return None
        return ThinkTags(opened=self._model.config.think_tags == "opened")
