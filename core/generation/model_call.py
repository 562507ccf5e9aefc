"""Has one model answer, or write the rest; with another form or less of the conversation, if it must be."""

import logging
import time
from threading import Event as Flag
from uuid import UUID

from core.generation.attempts import Attempt
from core.generation.chunk_reader import ChunkReader
from core.generation.deadlines import Deadlines
from core.generation.events import GenerationEvents
from core.generation.heartbeat import STOP_POLL_INTERVAL, Heartbeat
from core.generation.intake import Intake
from core.generation.prompts import Asking, Prompts
from core.generation.usage import credible
from core.llm.client_pool import ClientPool
from core.llm.providers.base import FinishReason, ProviderError

logger = logging.getLogger(__name__)

COALESCE_INTERVAL = 0.002
"""Seconds, for each answer that this process writes, over which text is gathered into one event: a lone reader sees
each token as it comes, and many share what the process can do. The first token does not wait."""
MAX_COALESCE_INTERVAL = 0.04


class ModelCalls:
    """Of this process."""

    def __init__(self, pool: ClientPool, prompts: Prompts, events: GenerationEvents, stopping: Flag) -> None:
        """`stopping`: set when the process has been told to stop."""
        self._pool = pool
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
        asking = self._prompts.begin(attempt, model, after)
        self._live.add(attempt.generation_id)
        try:
            while True:
                written = len(attempt.draft.text)
                try:
                    return self._stream(attempt, model, asking, heartbeat)
                except ProviderError as error:
                    if len(attempt.draft.text) > written:
                        asking.broke_off(error)
                    else:
                        asking.failed(error)
                    logger.info("%s is asked otherwise after: %s, it said: %s", model, error, error.said, extra=about)
        finally:
            self._live.discard(attempt.generation_id)

    def _stream(self, attempt: Attempt, model: str, asking: Asking, heartbeat: Heartbeat) -> FinishReason:
        """Stream what one request brings into the log; why it ended. Raises ProviderError."""
        config = self._pool.config(model)
        draft = attempt.draft
        whole = not draft.text
        draft.thinking.begin_request(anew=whole)
        reader = ChunkReader(self._pool.open(model, asking.turns))
        deadlines = Deadlines(config.first_token_timeout, config.between_tokens_timeout, time.monotonic())
        intake = Intake(draft.text, draft.thinking, deadlines, prefilled=asking.prefilled)
        try:
            while True:
                heard = intake.take(reader.read_batch(timeout=STOP_POLL_INTERVAL), time.monotonic())
                if heard.thinking:
                    self._events.append_thinking(attempt, heard.thinking)
                if heard.text:
                    self._events.append_delta(attempt, heard.text)
                if heard.error is not None:
                    raise heard.error
                if heard.finish_reason is not None:
                    if heard.told_as is not None:
                        about = {"generation_id": str(attempt.generation_id)}
                        logger.warning(
                            "%s ended: %s, it said: %s", model, heard.told_as, heard.told_as.said, extra=about
                        )
                    asking.answered(heard.usage)
                    if whole and heard.usage is not None:
                        estimate = attempt.usage_meter.estimate(draft.text, draft.thinking.text)
                        attempt.usage_meter.report(credible(heard.usage, estimate))
                    return heard.finish_reason
                heartbeat.tick()
                if heard.thinking or heard.text:
                    self._stopping.wait(min(COALESCE_INTERVAL * len(self._live), MAX_COALESCE_INTERVAL))
        finally:
            reader.abort()
