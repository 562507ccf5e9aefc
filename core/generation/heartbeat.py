"""What has to be done now and then while an answer is being written, each at its own pace."""

import time
from threading import Event as Flag

from core.conversation.event_log import EventLog
from core.errors import Unavailable
from core.generation.attempts import Attempt, Attempts
from core.generation.events import GenerationEvents
from core.generation.provider_slots import Slot
from core.limits.message_limits import MessageLimits

STOP_POLL_INTERVAL = 0.25
"""Seconds between two looks at whether the answer is to stop."""
SNAPSHOT_INTERVAL = 3.0
"""Seconds between two snapshots of an owned session's unfinished answer in SQL."""


class Stopped(Exception):
    """The answer has been stopped."""


class HandedOff(Exception):
    """This process has been told to stop; another carries on."""


class Heartbeats:
    """The heartbeats of this process's attempts."""

    def __init__(self, attempts: Attempts, log: EventLog, events: GenerationEvents, limits: MessageLimits) -> None:
        self.attempts = attempts
        self.log = log
        self.events = events
        self.limits = limits
        self.stopping = Flag()
        """Set when the process has been told to stop: its answers are handed off between two tokens."""

    def start(self, attempt: Attempt, slot: Slot) -> "Heartbeat":
        """The heartbeat of an attempt that has just been claimed."""
        return Heartbeat(self, attempt, slot)


class Heartbeat:
    """The heartbeat of one attempt, from its claim to its end."""

    def __init__(self, heartbeats: Heartbeats, attempt: Attempt, slot: Slot) -> None:
        self._parts = heartbeats
        self._attempt = attempt
        self._slot = slot
        self._lease = heartbeats.attempts.lease
        self._interval = self._lease.total_seconds() / 3
        now = time.monotonic()
        self._poll_at = now
        self._renew_at = now + self._interval
        self._lapses_at = now + 3 * self._interval
        self._snapshot_at = now + SNAPSHOT_INTERVAL

    def tick(self) -> None:
        """Do what is due. Raises HandedOff, Stopped, LeaseLost or Unavailable."""
        if self._parts.stopping.is_set():
            raise HandedOff
        now = time.monotonic()
        if now >= self._renew_at:
            self._renew_in_time(now)
        if now >= self._poll_at:
            self._poll_at = now + STOP_POLL_INTERVAL
            if self._is_stopped():
                raise Stopped
        if now >= self._snapshot_at:
            self._snapshot_at = now + SNAPSHOT_INTERVAL
            self._keep_snapshot()

    def renew(self) -> None:
        """Renew all leases that the attempt holds. Raises LeaseLost or Unavailable."""
        self._parts.attempts.renew(self._attempt)  # first: only the row's owner may hold on to the rest
        self._parts.limits.renew_lease(self._attempt.owner, self._attempt.generation_id, self._lease)
        self._slot.renew()

    def _renew_in_time(self, now: float) -> None:
        try:
            self.renew()
        except Unavailable:
            # A database that is only restarted is back before the lease is over: the words go on meanwhile.
            if now >= self._lapses_at:
                raise
            self._renew_at = now + self._interval / 4
        else:
            self._renew_at = now + self._interval
            self._lapses_at = now + 3 * self._interval

    def _is_stopped(self) -> bool:
        attempt = self._attempt
        return attempt.stop_requested.is_set() or self._parts.log.stop_requested(
            attempt.session_id, attempt.generation_id
        )

    def _keep_snapshot(self) -> None:
        try:
            self._parts.events.keep_snapshot(self._attempt)
        except Unavailable:
            return  # the next one has these words too
