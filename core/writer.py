"""Writes answers: claims a generation, asks its model or the next in line, and streams what comes into the log."""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError

from core.attempt import Attempt, Attempts, Lost
from core.client_pool import ClientPool
from core.clock import Clock, rfc3339
from core.cooldown import Cooldowns
from core.database import Database
from core.ending import Endings
from core.errors import ProviderFailed, RateLimited, SwitchboardError, Unavailable
from core.event_log import EventLog, Fenced
from core.history import fit
from core.leases import Leases
from core.message_limits import MessageLimits
from core.models import GenerationState, Session
from core.overlap import Overlap
from core.providers import REASONS, ErrorKind, ProviderError, Turn, Usage
from core.pump import Pump
from core.transcript import Message, Transcript

logger = logging.getLogger(__name__)

COALESCE = 0.03
"""Seconds over which text is gathered into one event; the first token does not wait."""
LOOK = 0.25
"""Seconds between two looks at whether somebody wants the answer to stop."""
SNAPSHOT = 3.0
"""Seconds between two snapshots of an owned session's unfinished answer in SQL."""
SLOT_PATIENCE = 30.0
"""Seconds to wait for one of the provider's slots."""
CONTINUE = "Go on exactly where your answer broke off. Do not repeat any of it and do not comment."


class _Stopped(Exception):
    """Somebody has stopped the answer."""


class _HandedOn(Exception):
    """This process has been told to stop; another carries on."""


@dataclass
class _Total:
    """Tokens over all requests that an answer took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, usage: Usage | None) -> None:
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens


class Writer:
    """The chat worker's work."""

    def __init__(
        self,
        database: Database,
        attempts: Attempts,
        endings: Endings,
        pool: ClientPool,
        cooldowns: Cooldowns,
        slots: Leases,
        log: EventLog,
        transcript: Transcript,
        limits: MessageLimits,
        clock: Clock,
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._endings = endings
        self._pool = pool
        self._cooldowns = cooldowns
        self._slots = slots
        self._log = log
        self._transcript = transcript
        self._limits = limits
        self._clock = clock
        self.stopping = Flag()
        """Set when the process has been told to stop: its answers are handed on between two tokens."""

    def run(self, generation_id: UUID) -> bool:
        """Write the answer of a queued generation. Returns whether it is queued again, for another worker.

        Safe to call twice, also at once: the second call finds the row taken and returns.
        """
        attempt = self._attempts.claim(generation_id)
        about = {"generation_id": str(generation_id)}
        if attempt is None:
            logger.info("not queued any more", extra=about)
            return False
        try:
            self._write(attempt)
        except _Stopped:
            self._endings.end(attempt, GenerationState.STOPPED, {})
        except _HandedOn:
            return self._hand_on(attempt)
        except (Lost, Fenced):
            logger.info("lost to another attempt", extra=about)
        except (RedisError, Unavailable):
            logger.warning("a store is away; the reaper hands the generation on", extra=about)
        except SwitchboardError as error:
            self._endings.end(attempt, GenerationState.FAILED, {"problem": error.problem()}, finish_reason=error.slug)
        except Exception:
            logger.exception("failed", extra=about)
            self._endings.end(attempt, GenerationState.FAILED, {"problem": SwitchboardError().problem()})
            raise
        return False

    def _hand_on(self, attempt: Attempt) -> bool:
        try:
            self._attempts.hand_on(attempt)
        except Lost:
            return False
        return True

    def _write(self, attempt: Attempt) -> None:
        """The answer, from whatever there is of it to its end. Raises what ends it otherwise."""
        self._limits.hold(attempt.owner, attempt.generation_id, self._attempts.lease)
        # First the fence, then the text: what a lost attempt sends from here on is refused.
        attempt.text = self._log.take_over(attempt.session_id, attempt.generation_id, attempt.number)
        if attempt.stop_requested:
            raise _Stopped
        if attempt.number == 1:
            self._append(attempt, "started", {"model": attempt.model, "attempt": 1})
        else:
            self._append(attempt, "resumed", {"attempt": attempt.number, "at": len(attempt.text)})
        total = _Total()
        model, finish_reason = self._ask_in_turn(attempt, total)
        self._endings.end(
            attempt,
            GenerationState.DONE,
            {"model": model, "finish_reason": finish_reason, "usage": vars(total)},
            finish_reason=finish_reason[:64],
            prompt_tokens=total.prompt_tokens,
            completion_tokens=total.completion_tokens,
        )

    def _ask_in_turn(self, attempt: Attempt, total: _Total) -> tuple[str, str]:
        """Ask the model, and its fallbacks when it fails; the one that ended the answer, and why it ended."""
        failed: tuple[str, ProviderError] | None = None
        for model in self._candidates(attempt):
            if failed is not None and failed[0] != model:
                told = {"from": failed[0], "to": model, "reason": failed[1].kind}
                self._append(attempt, "fallback", told)
            try:
                finish_reason = self._ask(attempt, model, total)
            except ProviderError as error:
                logger.warning("%s failed: %s", model, error, extra={"generation_id": str(attempt.generation_id)})
                self._cooldowns.rest(model, error)
                failed = (model, error)
                continue
            self._cooldowns.well(model)
            return model, finish_reason
        assert failed is not None
        last, cause = failed
        raise ProviderFailed(REASONS[cause.kind], reason=cause.kind, model=last)

    def _candidates(self, attempt: Attempt) -> Iterator[str]:
        """The models to ask, in order. One that fails in the middle of its answer is asked once to go on."""
        config = self._pool.config(attempt.model)
        names = [attempt.model, *config.fallback]
        asked = False
        for name in names:
            if not self._cooldowns.may_try(name):
                continue
            asked = True
            before = len(attempt.text)
            yield name
            if len(attempt.text) > before:
                yield name
        if not asked:  # all of them rest: then the chosen one is asked all the same
            yield attempt.model

    def _ask(self, attempt: Attempt, model: str, total: _Total) -> str:
        """Stream one model's answer, or the rest of it, into the log; why it ended. Raises ProviderError."""
        self._wait_for_slot(attempt, model)
        try:
            return self._stream(attempt, model, total)
        finally:
            with suppress(Unavailable):  # a slot that is not given back heals
                self._slots.release(model, attempt.holder)

    def _wait_for_slot(self, attempt: Attempt, model: str) -> None:
        limit = self._pool.config(model).max_concurrency
        patience = time.monotonic() + SLOT_PATIENCE
        keeper = _Keeper(self, attempt, model)
        while True:
            try:
                self._slots.take(model, attempt.holder, limit, self._attempts.lease)
                return
            except RateLimited:
                if time.monotonic() > patience:
                    raise ProviderError(ErrorKind.RATE_LIMITED, "no slot") from None
            keeper.look()
            self.stopping.wait(LOOK)

    def _stream(self, attempt: Attempt, model: str, total: _Total) -> str:
        config = self._pool.config(model)
        turns = self._turns(attempt, model)
        overlap = Overlap("" if config.prefill else attempt.text)
        pump = Pump(lambda: self._pool.open(model, turns))
        keeper = _Keeper(self, attempt, model)
        heard_at, heard = time.monotonic(), False
        try:
            while True:
                batch = pump.take(wait=LOOK)
                text = overlap.feed(batch.text) if batch.text else ""
                if batch.ended:
                    text += overlap.flush()
                if text:
                    self._append_delta(attempt, text)
                if batch.text:
                    heard_at, heard = time.monotonic(), True
                if batch.error is not None:
                    raise batch.error
                if batch.ended:
                    total.add(batch.usage)
                    return batch.finish_reason or "stop"
                limit = config.between_tokens_timeout if heard else config.first_token_timeout
                if time.monotonic() - heard_at > limit:
                    raise ProviderError(ErrorKind.TIMEOUT, "silent")
                keeper.look()
                if text:
                    self.stopping.wait(COALESCE)
        finally:
            pump.abort()

    def _turns(self, attempt: Attempt, model: str) -> list[Turn]:
        config = self._pool.config(model)
        with self._database.reading() as db:
            session = db.get_one(Session, attempt.session_id)
        # The last message is the answer to be written.
        messages = list(self._transcript.read(session).messages[:-1])
        budget = config.context_tokens - config.max_tokens
        if not attempt.text:
            return fit(self._pool.system_prompt, messages, budget)
        unfinished = Message("", "assistant", attempt.text, model, "streaming", "")
        turns = fit(self._pool.system_prompt, [*messages, unfinished], budget)
        return turns if config.prefill else [*turns, Turn("user", CONTINUE)]

    def _append_delta(self, attempt: Attempt, text: str) -> None:
        self._append(attempt, "delta", {"at": len(attempt.text), "text": text}, text=text)
        attempt.text += text

    def _append(self, attempt: Attempt, kind: str, data: dict[str, Any], *, text: str = "") -> None:
        self._log.append(
            attempt.session_id,
            kind,
            {"generation_id": str(attempt.generation_id), **data},
            expires_at=attempt.keep_until,
            producer=attempt.next(),
            role="write",
            text=text,
        )

    def keep_alive(self, attempt: Attempt, model: str) -> None:
        """Renew all that this attempt holds. Raises Lost."""
        self._attempts.renew(attempt)
        self._limits.refresh(attempt.owner, attempt.generation_id, self._attempts.lease)
        self._slots.refresh(model, attempt.holder, self._attempts.lease)

    def keep_snapshot(self, attempt: Attempt) -> None:
        """Keep what there is of an owned session's answer in SQL."""
        if attempt.anonymous or not attempt.text:
            return
        now = rfc3339(self._clock.now())
        answer = Message(str(attempt.generation_id), "assistant", attempt.text, attempt.model, "streaming", now)
        with self._database.writing() as db:
            self._transcript.keep(answer, attempt.session_id, db)

    def must_stop(self, attempt: Attempt) -> bool:
        """Whether somebody has stopped the answer."""
        return attempt.stop_requested or self._log.stop_requested(attempt.session_id, attempt.generation_id)

    @property
    def lease_seconds(self) -> float:
        """The lease, in seconds."""
        return self._attempts.lease.total_seconds()


class _Keeper:
    """What has to be done now and then while an answer is being written, each at its own pace."""

    def __init__(self, writer: Writer, attempt: Attempt, model: str) -> None:
        self._writer = writer
        self._attempt = attempt
        self._model = model
        now = time.monotonic()
        self._look_at = now
        self._renew_at = now + writer.lease_seconds / 3
        self._snapshot_at = now + SNAPSHOT

    def look(self) -> None:
        """Do what is due. Raises _HandedOn, _Stopped or Lost."""
        if self._writer.stopping.is_set():
            raise _HandedOn
        now = time.monotonic()
        if now >= self._renew_at:
            self._writer.keep_alive(self._attempt, self._model)
            self._renew_at = now + self._writer.lease_seconds / 3
        if now >= self._look_at:
            self._look_at = now + LOOK
            if self._writer.must_stop(self._attempt):
                raise _Stopped
        if now >= self._snapshot_at:
            self._writer.keep_snapshot(self._attempt)
            self._snapshot_at = now + SNAPSHOT
