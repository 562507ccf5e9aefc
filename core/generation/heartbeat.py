"""What has to be done now and then while an answer is being written, each at its own pace."""

import time
from threading import Event as Flag

from core.conversation.event_log import EventLog
from core.errors import Unavailable
from core.generation.attempts import Attempt, Attempts
from core.generation.events import AnswerLog
from core.generation.provider_slots import Slots
from core.limits.message_limits import MessageLimits

LOOK = 0.25
"""Seconds between two looks at whether somebody wants the answer to stop."""
SNAPSHOT = 3.0
"""Seconds between two snapshots of an owned session's unfinished answer in SQL."""


class Stopped(Exception):
    """Somebody has stopped the answer."""


class HandedOn(Exception):
    """This process has been told to stop; another carries on."""


class Upkeep:
    """What keeps an attempt alive, and what ends it."""

    def __init__(
        self, attempts: Attempts, slots: Slots, log: EventLog, answers: AnswerLog, limits: MessageLimits
    ) -> None:
        self._attempts = attempts
        self._slots = slots
        self._log = log
        self._limits = limits
        self.keep_snapshot = answers.keep_snapshot
        self.lease = attempts.lease
        self.stopping = Flag()
        """Set when the process has been told to stop: its answers are handed on between two tokens."""

    def renew(self, attempt: Attempt) -> None:
        """Renew all that the attempt holds. Raises Lost, or Unavailable."""
        self._attempts.renew(attempt)  # first: only who owns the row may hold on to the rest
        self._limits.renew_lease(attempt.owner, attempt.generation_id, self.lease)
        self._slots.hold(attempt)

    def must_stop(self, attempt: Attempt) -> bool:
        """Whether somebody has stopped the answer."""
        return attempt.stop_requested or self._log.stop_requested(attempt.session_id, attempt.generation_id)


class Keeper:
    """Keeps one attempt, from its claim to its end."""

    def __init__(self, upkeep: Upkeep, attempt: Attempt) -> None:
        self._upkeep = upkeep
        self._attempt = attempt
        self._heartbeat = upkeep.lease.total_seconds() / 3
        now = time.monotonic()
        self._look_at = now
        self._renew_at = now + self._heartbeat
        self._lapses_at = now + 3 * self._heartbeat
        self._snapshot_at = now + SNAPSHOT

    def look(self) -> None:
        """Do what is due. Raises HandedOn, Stopped, Lost, or Unavailable."""
        if self._upkeep.stopping.is_set():
            raise HandedOn
        now = time.monotonic()
        if now >= self._renew_at:
            self._renew(now)
        if now >= self._look_at:
            self._look_at = now + LOOK
            if self._upkeep.must_stop(self._attempt):
                raise Stopped
        if now >= self._snapshot_at:
            self._snapshot_at = now + SNAPSHOT
            self._keep_snapshot()

    def _renew(self, now: float) -> None:
        try:
            self._upkeep.renew(self._attempt)
        except Unavailable:
            # A database that is only restarted is back before the lease is over: the words go on meanwhile.
            if now >= self._lapses_at:
                raise
            self._renew_at = now + self._heartbeat / 4
        else:
            self._renew_at = now + self._heartbeat
            self._lapses_at = now + 3 * self._heartbeat

    def _keep_snapshot(self) -> None:
        try:
            self._upkeep.keep_snapshot(self._attempt)
        except Unavailable:
            return  # the next one has these words too
