"""Has one model answer, or write the rest; with another variant of the prompt, if it must be."""

import logging
import time
from threading import Event as Flag
from uuid import UUID

from core.generation.attempts import Attempt
from core.generation.chunk_reader import ChunkReader
from core.generation.deadlines import Deadlines
from core.generation.events import GenerationEvents
from core.generation.heartbeat import STOP_POLL_INTERVAL, Heartbeat
from core.generation.prompts import PromptRetries, Prompts
from core.generation.stream_filter import StreamFilter, StreamOutput
from core.generation.usage import credible
from core.llm.client_pool import ClientPool
from core.llm.event_loop import EventLoop
from core.llm.providers.base import FinishReason, ProviderError

logger = logging.getLogger(__name__)

COALESCE_INTERVAL = 0.002
"""Seconds, for each answer that this process writes, over which text is gathered into one event: a lone reader sees
each token as it comes, and many share what the process can do. The first token does not wait."""
MAX_COALESCE_INTERVAL = 0.04


class ModelCalls:
    """Of this process."""

    def __init__(
        self, pool: ClientPool, prompts: Prompts, events: GenerationEvents, stopping: Flag, loop: EventLoop
    ) -> None:
        """`stopping`: set when the process has been told to stop."""
        self._pool = pool
        self._loop = loop
        self._prompts = prompts
        self._events = events
        self._stopping = stopping
        self._live: set[UUID] = set()

    def answer(self, attempt: Attempt, model: str, heartbeat: Heartbeat, after: ProviderError | None) -> FinishReason:
        """Have the model answer, and append what it writes; why the answer ended.

        `after`: what the model before it has failed with. Raises ProviderError, for a conversation that is too long
        even when most of it is left out TooLong, and what `Heartbeat.tick` raises.
        """
        about = {"generation_id": str(attempt.generation_id)}
        prompts = self._prompts.begin(attempt, model, after)
        self._live.add(attempt.generation_id)
        try:
            while True:
                written = len(attempt.draft.text)
                try:
                    return self._stream(attempt, model, prompts, heartbeat)
                except ProviderError as error:
                    if len(attempt.draft.text) > written:
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

    def _stream(self, attempt: Attempt, model: str, prompts: PromptRetries, heartbeat: Heartbeat) -> FinishReason:
        """Stream what one request brings into the log; why it ended. Raises ProviderError."""
        draft = attempt.draft
        whole = not draft.text
        self._events.begin_request(attempt)
        attempt.usage_meter.count_prompt(prompts.question, begun=not whole)
        reader = ChunkReader(self._pool.open(model, prompts.turns), self._loop)
        stream = StreamFilter(draft.text, draft.thinking, self._deadlines(model), prefilled=prompts.prefilled)
        try:
            while True:
                output = stream.take(reader.read_batch(timeout=STOP_POLL_INTERVAL), time.monotonic())
                self._append(attempt, output)
                if output.error is not None:
                    raise output.error
                if output.finish_reason is not None:
                    if output.ending_error is not None:
                        _log_ending(attempt, model, output.ending_error)
                    prompts.answered(output.usage)
                    if whole and output.usage is not None:
                        estimate = attempt.usage_meter.estimate(draft.text, draft.thinking.text)
                        attempt.usage_meter.report(credible(output.usage, estimate))
                    return output.finish_reason
                heartbeat.tick()
                if output.thinking or output.text:
                    self._stopping.wait(min(COALESCE_INTERVAL * len(self._live), MAX_COALESCE_INTERVAL))
        finally:
            reader.abort()

    def _deadlines(self, model: str) -> Deadlines:
        config = self._pool.config(model)
        return Deadlines(config.first_token_timeout, config.between_tokens_timeout, time.monotonic())

    def _append(self, attempt: Attempt, output: StreamOutput) -> None:
        if output.thinking:
            self._events.append_thinking(attempt, output.thinking, output.thinking_ms)
        if output.text:
            self._events.append_delta(attempt, output.text, output.thinking_ms)


def _log_ending(attempt: Attempt, model: str, error: ProviderError) -> None:
    about = {"generation_id": str(attempt.generation_id)}
    logger.warning("%s ended: %s, it said: %s", model, error, error.provider_message, extra=about)
