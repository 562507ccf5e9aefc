"""Has one model answer, or write the rest; with another variant of the prompt, if it must be."""

import asyncio
import logging
import time
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from uuid import UUID

from core.generation.attempts import Attempt
from core.generation.batch import Inbox
from core.generation.block_events import BlockEvents
from core.generation.deadlines import Deadlines
from core.generation.events import GenerationEvents
from core.generation.failure import EmptyAnswer
from core.generation.heartbeat import STOP_POLL_INTERVAL, HandedOff, Heartbeat
from core.generation.prompts import PromptRetries, Prompts
from core.generation.stream_filter import StreamFilter, StreamOutput
from core.generation.usage import credible
from core.llm.client_pool import ClientPool
from core.llm.event_loop import EventLoop
from core.llm.providers.base import ChunkStream, FinishReason, ProviderError, Usage
from core.observability.spans import Span, Value
from core.observability.tracing import span

logger = logging.getLogger(__name__)

COALESCE_INTERVAL = 0.002
"""Seconds, for each answer that this process writes, over which text is gathered into one event: a lone reader sees
each token as it comes, and many share what the process can do. The first token does not wait."""
MAX_COALESCE_INTERVAL = 0.04
CROWD = 256
CROWDED_COALESCE_INTERVAL = 0.1
"""Above so many answers events get bigger, rather than later still."""
MAX_GAP = 5.0
"""Seconds between two looks at what has come, after which it is this process that stood still, with its machine
perhaps, and not the model that was silent."""


class ModelCalls:
    """Of this process."""

    def __init__(self, pool: ClientPool, prompts: Prompts, events: GenerationEvents, loop: EventLoop) -> None:
        """`loop`: what comes of all answers is read and appended on it. The rest blocks, and is each thread's own."""
        self._pool = pool
        self._prompts = prompts
        self._events = events
        self._loop = loop
        self._live: set[UUID] = set()
        self._blocks = BlockEvents(events)

    def answer(self, attempt: Attempt, model: str, heartbeat: Heartbeat, after: ProviderError | None) -> FinishReason:
        """Have the model answer, and append what it writes; why the answer ended.

        `after`: what the model before it has failed with. Raises ProviderError, for a conversation that is too long
        even when most of it is left out TooLong, and what `Heartbeat.check` raises.
        """
        about = {"generation_id": str(attempt.generation_id)}
        prompts = self._prompts.begin(attempt, model, after)
        self._live.add(attempt.generation_id)
        try:
            while True:
                if prompts.exhausted:
                    attempt.usage_meter.ask(prompts.question, begun=True)
                    attempt.usage_meter.take()
                    return "length"
                written = attempt.draft.length
                try:
                    with self._span(model) as call:
                        return self._stream(attempt, model, prompts, heartbeat, call)
                except ProviderError as error:
                    if attempt.draft.length > written:
                        prompts.broke_off(error)
                    else:
                        prompts.failed(error)
                    logger.info(
                        "%s is asked otherwise after: %s, it said: %s",
                        model,
                        error,
                        error.provider_message,
                        extra=about,
                    )
        finally:
            self._live.discard(attempt.generation_id)

    def _span(self, model: str) -> AbstractContextManager[Span]:
        """Of one request, as the conventions for generative AI have it: without what is said."""
        config = self._pool.config(model)
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": config.provider,
            "gen_ai.request.model": config.model,
            "gen_ai.request.max_tokens": config.max_tokens,
            "gen_ai.request.stream": True,
        }
        return span(f"chat {config.model}", "client", attributes)

    def _stream(
        self, attempt: Attempt, model: str, prompts: PromptRetries, heartbeat: Heartbeat, call: Span
    ) -> FinishReason:
        """Stream what one request brings into the log; why it ended. Raises ProviderError."""
        draft, meter = attempt.draft, attempt.usage_meter
        whole = draft.length == attempt.kept.length
        self._events.begin_request(attempt)
        meter.ask(prompts.turns if whole else prompts.question, begun=not whole)
        chunks = self._pool.open(model, prompts.turns, prompts.sampling)
        stream = StreamFilter(
            draft.text,
            draft.thinking,
            self._deadlines(model),
            prefilled=prompts.prefilled,
            sampling=prompts.sampling,
        )
        try:
            end = self._loop.run(self._write(attempt, chunks, stream, heartbeat))
        except CancelledError:
            raise HandedOff from None  # the process ends
        except ProviderError as error:
            _count_failed(attempt, error, whole=whole, taken=chunks.answered or stream.said)
            raise
        except BaseException:  # nobody wants it any more, or not from this model or worker
            _count(attempt, taken=chunks.sent or stream.said)
            raise
        assert end.finish_reason is not None
        meter.take()
        call.set({"gen_ai.response.finish_reasons": [end.finish_reason]})
        if end.usage is not None:
            used = end.usage
            call.set(
                {
                    "gen_ai.usage.input_tokens": used.prompt_tokens,
                    "gen_ai.usage.output_tokens": used.completion_tokens,
                    "gen_ai.usage.reasoning.output_tokens": used.reasoning_tokens or None,
                }
            )
        if end.ending_error is not None:
            _log_ending(attempt, model, end.ending_error)
        prompts.answered(end.usage)
        if whole and end.usage is not None:
            _report(attempt, end.usage)
        return end.finish_reason

    async def _write(
        self, attempt: Attempt, chunks: ChunkStream, stream: StreamFilter, heartbeat: Heartbeat
    ) -> StreamOutput:
        """Append what comes, up to the output that has the reason for the end."""
        inbox = Inbox()
        reading = asyncio.create_task(inbox.fill(chunks))
        try:
            looked_at = time.monotonic()
            while True:
                batch, now = await inbox.take(STOP_POLL_INTERVAL), time.monotonic()
                gap, looked_at = now - looked_at, now
                if gap > MAX_GAP:
                    about = {"generation_id": str(attempt.generation_id)}
                    logger.info("the model was not listened to for %.1f s: the process stood still", gap, extra=about)
                    stream.pause(gap)
                output = stream.take(batch, now)
                await self._append(attempt, output)
                await self._blocks.tell(attempt, output.text)
                if output.error is not None:
                    raise output.error
                if output.finish_reason is not None:
                    return output
                heartbeat.check()
                if output.thinking or output.text:
                    await asyncio.sleep(self._coalesce_interval())
        finally:
            reading.cancel()  # which closes the connection

    def _coalesce_interval(self) -> float:
        live = len(self._live)
        return CROWDED_COALESCE_INTERVAL if live > CROWD else min(COALESCE_INTERVAL * live, MAX_COALESCE_INTERVAL)

    def _deadlines(self, model: str) -> Deadlines:
        config = self._pool.config(model)
        return Deadlines(config.first_token_timeout, config.between_tokens_timeout, time.monotonic())

    async def _append(self, attempt: Attempt, output: StreamOutput) -> None:
        if output.thinking:
            await self._events.append_thinking(attempt, output.thinking, output.thinking_ms)
        if output.text:
            await self._events.append_delta(attempt, output.text, output.thinking_ms)


def _count(attempt: Attempt, *, taken: bool) -> None:
    """A request has come to an end, or has been given up."""
    meter = attempt.usage_meter
    if taken:
        meter.take()
    else:
        meter.refuse()


def _count_failed(attempt: Attempt, error: ProviderError, *, whole: bool, taken: bool) -> None:
    """A request has failed. What the provider has counted holds if it has come to its end without a word of text."""
    empty = isinstance(error, EmptyAnswer)
    _count(attempt, taken=taken or empty)
    if isinstance(error, EmptyAnswer) and whole and error.usage is not None:
        _report(attempt, error.usage)


def _report(attempt: Attempt, usage: Usage) -> None:
    meter = attempt.usage_meter
    meter.report(credible(usage, meter.estimate(*attempt.added)))


def _log_ending(attempt: Attempt, model: str, error: ProviderError) -> None:
    about = {"generation_id": str(attempt.generation_id)}
    logger.warning("%s ended: %s, it said: %s", model, error, error.provider_message, extra=about)
