"""What has to be done now and then for the answers that a process writes: for all of them together, in one thread."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event as Flag
from threading import Lock, Thread

from core.conversation.event_log import EventLog
from core.errors import Unavailable
from core.generation.attempts import Attempt, Attempts, LeaseLost
from core.generation.events import GenerationEvents
from core.generation.provider_slots import Slot
from core.limits.message_limits import MessageLimits
from core.stores.redis import Redis

logger = logging.getLogger(__name__)

STOP_POLL_INTERVAL = 0.25
"""Seconds between two looks at which answers are to stop."""
SNAPSHOT_INTERVAL = 3.0
"""Seconds between two snapshots of an owned session's unfinished answer in SQL."""
MAX_SNAPSHOTS = 50
"""Answers in one transaction."""


class Stopped(Exception):
    """The answer has been stopped."""


class HandoverWanted(Exception):
    """Another model is to carry on."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


class HandedOff(Exception):
    """This process has been told to stop; another carries on."""


class Heartbeat:
    """The heartbeat of one attempt, from its claim to its end."""

    def __init__(self, attempt: Attempt, slot: Slot, lapses_at: float, stopping: Flag) -> None:
        self.attempt = attempt
        self.slot = slot
        self.snapshot_at = time.monotonic() + SNAPSHOT_INTERVAL
        self._lapses_at = lapses_at
        self._stopping = stopping
        self._reason: Exception | None = None

    def check(self) -> None:
        """Raise HandedOff, Stopped, LeaseLost, HandoverWanted or Unavailable when the attempt, or the model that is
        asked, may not go on. Costs nothing."""
        if self._stopping.is_set():
            raise HandedOff
        if self._reason is not None:
            raise self._reason
        if self.attempt.stop_requested.is_set():
            raise Stopped
        if time.monotonic() >= self._lapses_at:
            raise Unavailable
        wanted = self.attempt.handovers.wanted
        if wanted is not None:
            raise HandoverWanted(wanted)

    def interrupt(self, reason: Exception) -> None:
        """Have the next check raise this, if it is the first reason."""
        self._reason = self._reason or reason

    def renewed(self, lapses_at: float) -> None:
        """All that the attempt holds is its own up to this moment."""
        self._lapses_at = lapses_at


class Heartbeats:
    """The heartbeats of this process's attempts.

    A thread beats for all of them as long as there are any. Leases are renewed three times in their time. A database
    that is only restarted is back before a lease is over, so the words go on until then.
    """

    def __init__(
        self, attempts: Attempts, log: EventLog, events: GenerationEvents, limits: MessageLimits, redis: Redis
    ) -> None:
        self._attempts = attempts
        self._log = log
        self._events = events
        self._limits = limits
        self._redis = redis
        self._lease = attempts.lease
        self._interval = self._lease.total_seconds() / 3
        self._live: set[Heartbeat] = set()
        self._lock = Lock()
        """Of the live ones and their thread."""
        self._renewing = Lock()
        """Held while leases are renewed: what has been given back must not be renewed after that."""
        self._thread: Thread | None = None
        self._renew_at = 0.0
        self._snapshots: Future[None] | None = None
        self._snapshot_thread = ThreadPoolExecutor(1, "snapshots")
        self.stopping = Flag()
        """Set when the process has been told to stop: its answers are handed off between two tokens."""

    @contextmanager
    def start(self, attempt: Attempt, slot: Slot) -> Iterator[Heartbeat]:
        """The heartbeat of an attempt that has just been claimed, for as long as the block lasts."""
        heartbeat = Heartbeat(attempt, slot, time.monotonic() + 3 * self._interval, self.stopping)
        with self._lock:
            if not self._live:
                self._renew_at = time.monotonic() + self._interval
            self._live.add(heartbeat)
            if self._thread is None:
                self._thread = Thread(target=self._beat, name="heartbeat", daemon=True)
                self._thread.start()
        try:
            yield heartbeat
        finally:
            with self._renewing, self._lock:
                self._live.discard(heartbeat)

    def move(self, heartbeat: Heartbeat, model: str) -> bool:
        """Move the attempt's slot to this model's, as `Slot.move_to` does, while none is renewed."""
        if heartbeat.slot.model == model:
            return True
        with self._renewing:
            return heartbeat.slot.move_to(model)

    def tick(self) -> None:
        """Do what is due for all that are live."""
        now = time.monotonic()
        if now >= self._renew_at:
            self.renew()
        else:
            self._talk(self._alive(), ())
        self._keep_snapshots(now)

    def renew(self) -> None:
        """Renew all leases that the live attempts hold, and learn which are to stop."""
        now = time.monotonic()
        with self._renewing:
            live, owned = self._alive(), list[Heartbeat]()
            _together(live, lambda some: owned.extend(self._renew_rows(some)))
            renewed = self._talk(live, owned)
            for heartbeat in renewed:
                heartbeat.renewed(now + 3 * self._interval)
            whole = len(renewed) == len(live)
            self._renew_at = now + (self._interval if whole else self._interval / 4)

    def _beat(self) -> None:
        while True:
            time.sleep(STOP_POLL_INTERVAL)
            with self._lock:
                if not self._live:
                    self._thread = None
                    return
            try:
                self.tick()
            except Exception:
                logger.exception("a heartbeat has failed")

    def _alive(self) -> list[Heartbeat]:
        with self._lock:
            return list(self._live)

    def _renew_rows(self, live: Sequence[Heartbeat]) -> list[Heartbeat]:
        """Renew the rows' leases, which comes first: only a row's owner may hold on to the rest. Those that could be
        renewed. Raises Unavailable."""
        renewed, lost = self._attempts.renew_all([each.attempt for each in live])
        _interrupt_lost(live, lost)
        return [each for each in live if each.attempt in renewed]

    def _talk(self, live: Sequence[Heartbeat], owned: Sequence[Heartbeat]) -> list[Heartbeat]:
        """Renew in Redis what these own, and look which of all are to stop or to be handed over, in one round trip;
        those that hold all their own."""
        if not live:
            return []
        with_slot = [each for each in owned if each.slot.model is not None]
        with self._redis.pipeline(transaction=False) as pipe:
            for each in with_slot:
                each.slot.add_renewal(pipe)
            for each in owned:
                self._limits.add_renewal(pipe, each.attempt.owner, each.attempt.generation_id, self._lease)
            for each in live:
                self._log.add_request_poll(pipe, each.attempt.session_id)
            try:
                answers = pipe.execute(raise_on_error=False)
            except Unavailable:
                return []
        to_hand_over: list[Heartbeat] = []
        for each, requested in zip(live, answers[-len(live) :], strict=True):
            of_this = str(each.attempt.generation_id)
            to_stop, handover = requested if isinstance(requested, list) else (None, None)
            if to_stop == of_this:
                each.interrupt(Stopped())
            if handover == of_this:
                to_hand_over.append(each)
        self._find_handovers(to_hand_over)
        failed = [each for each, answer in zip(with_slot, answers, strict=False) if isinstance(answer, Exception)]
        return [each for each in owned if each not in failed]

    def _find_handovers(self, live: Sequence[Heartbeat]) -> None:
        """Read what the rows of these say. The request in Redis goes first: one that comes meanwhile stays."""
        if not live:
            return
        with suppress(Unavailable):  # the rows are read again when their leases are renewed
            with self._redis.pipeline(transaction=False) as pipe:
                for each in live:
                    self._log.add_forget_handover(pipe, each.attempt.session_id)
                pipe.execute(raise_on_error=False)
            self._attempts.find_handovers([each.attempt for each in live])

    def _keep_snapshots(self, now: float) -> None:
        """Have those kept that are due, the latest first. In another thread: no lease waits for them."""
        if self._snapshots is not None and not self._snapshots.done():
            return
        due = [each for each in self._alive() if now >= each.snapshot_at and _has_snapshot(each.attempt)]
        due = sorted(due, key=lambda each: each.snapshot_at)[:MAX_SNAPSHOTS]
        for each in due:
            each.snapshot_at = now + SNAPSHOT_INTERVAL
        if due:
            self._snapshots = self._snapshot_thread.submit(_together, due, self._snapshot)

    def _snapshot(self, due: Sequence[Heartbeat]) -> None:
        _interrupt_lost(due, self._events.keep_snapshots([each.attempt for each in due]))


def _has_snapshot(attempt: Attempt) -> bool:
    return not (attempt.words_in_redis or attempt.draft.is_empty)


def _interrupt_lost(live: Sequence[Heartbeat], lost: Collection[Attempt]) -> None:
    for heartbeat in live:
        if heartbeat.attempt in lost:
            heartbeat.interrupt(LeaseLost())


def _together(live: Sequence[Heartbeat], handle: Callable[[Sequence[Heartbeat]], None]) -> None:
    """Do something for all at once or, if one of them makes that fail, for each alone: it then ends with its own
    error, and no other does. A store that is away ends none."""
    try:
        handle(live)
    except Unavailable:
        return
    except Exception as error:
        if len(live) == 1:
            live[0].interrupt(error)
            return
        for heartbeat in live:
            _together([heartbeat], handle)
