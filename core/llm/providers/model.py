"""A model on a server: what it is asked with, what it has been seen to refuse, and its answers."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from core.llm.model_config import ModelConfig
from core.llm.providers.answer import Answer, Interpreter
from core.llm.providers.anthropic import Anthropic
from core.llm.providers.base import (
    MAX_COUNT,
    NO_SAMPLING,
    Chunk,
    ErrorKind,
    ProviderError,
    RequestedAnswer,
    Sampling,
    Turn,
)
from core.llm.providers.errors import LIMITS, Complaint, RequestRefused, as_provider_error
from core.llm.providers.openai_compatible import OpenAICompatible
from core.llm.providers.output_limit import (
    LearnedLimits,
    limits_from_refusal,
    limits_from_usage,
    output_limit,
    reduced_limit,
    text_bytes,
    without_output_tokens,
)
from core.llm.providers.parameters import STREAM, SYSTEM, TEMPERATURE, Adjustment, adjusted, refused, without_system
from core.llm.providers.prefill import trimmed
from core.llm.providers.redaction import redacted
from core.llm.providers.think_tags import ThinkTags
from core.llm.providers.wire import api_key, ask, endpoint, http_client
from core.observability.tracing import traceparent
from core.text.masking import secrets_of

MAX_RETRIES = 5
"""Requests for one answer besides the first, each of which knows of one refusal more."""


class WireProtocol(Protocol):
    """How a model is asked in one of the protocols."""

    path: str
    """Of a request, after the server's address."""
    required: frozenset[str]
    """Parameters that a request can't do without."""

    def headers(self, key: str) -> dict[str, str]: ...

    def parameters(self, limit: int, sampling: Sampling = NO_SAMPLING) -> dict[str, Any]: ...

    def conversation(self, turns: Sequence[Turn]) -> dict[str, Any]: ...

    def interpreter(self, turns: Sequence[Turn], limit: int) -> Interpreter: ...


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
        self.limits = LearnedLimits()
        """What has been learned of the length of its answers."""
        self.refused_temperature = math.inf
        """The least temperature of a session's that the server has refused: it takes none from there on."""

    def open(self, turns: Sequence[Turn], sampling: Sampling = NO_SAMPLING) -> RequestedAnswer:
        """An answer to be."""
        return ModelAnswer(self, turns, sampling)

    def parameters(self, request: "Request") -> dict[str, Any]:
        """What the request has besides the conversation, by our names."""
        return self.protocol.parameters(request.limit, request.sampling)

    def body(self, turns: Sequence[Turn], request: "Request") -> dict[str, Any]:
        """What the server is asked with."""
        config, omit = self.config, request.adjustment.omit
        said = without_system(turns) if SYSTEM in omit else turns
        parameters = self.parameters(request)
        fixed = {"model": config.model, "stream": STREAM not in omit, **self.protocol.conversation(said)}
        return {**fixed, **adjusted(parameters, request.adjustment), **config.extra_body}

    def sends_limit(self, request: "Request") -> bool:
        """Whether the server is told the request's limit."""
        own = not self.config.extra_body.keys().isdisjoint((*LIMITS, *request.adjustment.rename.values()))
        names = self.parameters(request).keys() - request.adjustment.omit
        return not own and not names.isdisjoint(LIMITS)

    def told_limit(self, request: "Request") -> int:
        """Tokens of an answer that the server is told, be it by `extra_body`; 0 when it is told none."""
        sent = adjusted(self.parameters(request), request.adjustment) | self.config.extra_body
        names = (*LIMITS, *(request.adjustment.rename.get(name, name) for name in LIMITS))
        return next((sent[name] for name in names if type(sent.get(name)) is int), 0)

    def observe(self, chunk: Chunk, asked: int) -> None:
        """A chunk has come, of the answer to so many bytes."""
        if not (chunk.thinking or chunk.usage):
            return
        thinks = bool(chunk.thinking or (chunk.usage and chunk.usage.reasoning_tokens))
        seen = limits_from_usage(self.limits, asked, chunk.usage.prompt_tokens if chunk.usage else None)
        self.limits |= seen._replace(thinks=thinks)

    def learn(self, request: "Request") -> None:
        """The server has taken what is different in this request."""
        self.adjustment |= request.learned
        self.limits |= request.learned_limits
        self.refused_temperature = min(self.refused_temperature, request.refused_temperature)


class Request(NamedTuple):
    """How a model is asked, and what of it is new."""

    adjustment: Adjustment
    limit: int
    """Tokens of the answer, its thinking included."""
    learned: Adjustment = Adjustment()
    learned_limits: LearnedLimits = LearnedLimits()
    sampling: Sampling = NO_SAMPLING
    """What this answer is asked with besides."""
    refused_temperature: float = math.inf


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
    """A RequestedAnswer. A request that is refused for one of its parameters, or for the length that its answer may
    have, is sent once more without what was refused, as long as each refusal says something new."""

    def __init__(self, model: Model, turns: Sequence[Turn], sampling: Sampling) -> None:
        self._model = model
        self._sampling = sampling
        self._turns, self._left_out = trimmed(turns)
        self._asked = text_bytes(turns)
        self.sent = self.answered = False
        self._begun = False
        self._said = False
        """Whether a word of text has come."""
        self._written = ("", "")
        """The text and the thinking before an error."""
        self._chunks = self._answer()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self._chunks

    async def aclose(self) -> None:
        await self._chunks.aclose()

    async def _answer(self) -> AsyncGenerator[Chunk, None]:
        model = self._model
        sampling = self._sampling
        if sampling.temperature is not None and sampling.temperature >= model.refused_temperature:
            sampling = sampling._replace(temperature=None)
        limit = output_limit(model.config, self._turns, model.limits)
        limit = min(limit, sampling.max_tokens or limit)
        request = Request(model.adjustment, limit, sampling=sampling)
        for left in reversed(range(MAX_RETRIES + 1)):
            try:
                async with aclosing(self._ask(request)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except RequestRefused as refusal:
                complaint = refusal.complaint
            if complaint.ran_out and (self._said or complaint.kind is ErrorKind.EMPTY):
                yield Chunk(finish_reason="length")
                return
            better = self._adjusted_request(request, complaint) if left and not self._begun else None
            if better is None:
                complaint = without_output_tokens(complaint, model.told_limit(request))
                # A long conversation is compared with what the server said for longer than other answers can wait.
                raise await asyncio.to_thread(self._provider_error, complaint)
            model.learn(request)  # what was refused before is cured
            request = better

    async def _ask(self, request: Request) -> AsyncGenerator[Chunk, None]:
        model = self._model
        body = json.dumps(model.body(self._turns, request), ensure_ascii=False).encode(errors="replace")
        most = request.limit if model.sends_limit(request) else MAX_COUNT
        interpreter = model.protocol.interpreter(self._turns, most)
        answer = Answer(interpreter, self._tags(), self._left_out)
        span = traceparent() if model.config.send_traceparent else None
        headers = model.headers if span is None else {**model.headers, "traceparent": span}
        try:
            response = await ask(model.client, headers, body, self._note_sent)
        except (ProviderError, RequestRefused):
            self.sent = False
            raise
        self.answered = True
        try:
            while not answer.over:
                try:
                    piece = await response.read()
                except ProviderError as error:
                    answer.broken(error)
                    return
                for chunk in answer.feed(piece) if piece else answer.end():
                    model.observe(chunk, self._asked)
                    self._said = self._said or bool(chunk.text)
                    if not self._begun and (chunk.text or chunk.thinking or chunk.finish_reason):
                        self._begun = True
                        model.learn(request)
                    yield chunk
                if not piece:
                    return
        except (ProviderError, RequestRefused) as error:
            self.sent = self.answered = False
            if isinstance(error, RequestRefused):
                self._written = answer.written
            raise
        finally:
            response.close()

    def _note_sent(self) -> None:
        self.sent = True

    def _adjusted_request(self, request: Request, complaint: Complaint) -> Request | None:
        """How to ask after this complaint; None when there is no other way."""
        model = self._model
        sent = model.parameters(request).keys() - model.protocol.required | {STREAM}
        system = any(turn.role == "system" for turn in self._turns)
        learned = refused(complaint, sent, request.adjustment, system=system)
        if not learned.rename and model.sends_limit(request):
            instead = reduced_limit(complaint, request.limit, model.config.max_tokens)
            if instead is not None:
                learned_limits = limits_from_refusal(complaint, self._asked, model.limits, instead)
                return request._replace(limit=instead, learned=Adjustment(), learned_limits=learned_limits)
        if not learned.changes:
            return None
        # What one session or request has asked for may only have been wrong with its value: others' is asked for all
        # the same. Of its temperature, which the table has too, there is still that.
        usual = model.protocol.parameters(request.limit).keys() | {STREAM, SYSTEM}
        sampling, refused_temperature = request.sampling, math.inf
        if TEMPERATURE in learned.omit and sampling.temperature is not None:
            refused_temperature = sampling.temperature
            sampling = sampling._replace(temperature=None)
            learned = learned._replace(omit=learned.omit - {TEMPERATURE})
        lasting = learned._replace(omit=learned.omit & usual)
        adjustment = request.adjustment | learned
        return Request(adjustment, request.limit, lasting, sampling=sampling, refused_temperature=refused_temperature)

    def _provider_error(self, complaint: Complaint) -> ProviderError:
        text, thinking = self._written
        last, model = self._turns[-1], self._model
        answer = last.text + text if last.role == "assistant" else text  # what is gone on with is quoted as one
        spoken = [*(turn.text for turn in self._turns), answer, thinking]
        said = redacted(complaint.message, spoken, model.key, *secrets_of(model.url), names=[model.config.model])
        return as_provider_error(complaint, said)

    def _tags(self) -> ThinkTags | None:
        # What goes on with an answer is past its thinking.
        if not self._model.config.think_tags or self._turns[-1].role == "assistant":
            return None
        return ThinkTags(opened=self._model.config.think_tags == "opened")
