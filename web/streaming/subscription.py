"""One reader's view of a channel: a small buffer that would rather say "read the log" than grow or lose."""

import time
from collections import deque
from threading import Event as Flag
from typing import NamedTuple

from core.auth.proofs import Proof
from core.conversation.position import Position

MAX_BUFFERED = 256
"""Announcements kept for a reader that is busy; beyond that it reads the log instead."""


class Announced(NamedTuple):
    """An event as it is sent to browsers, encoded once for all readers of this process."""

    position: Position | None
    """None: not part of a log. Of a session's events only the last thing that is said is not: that it is over."""
    type: str
    data: str
    frame: bytes


class Subscription:
    """Filled by the hub, emptied by one reader. There may be ten thousand, so it is kept small."""

    __slots__ = (
        "_gap",
        "_items",
        "_news",
        "at",
        "channel",
        "doubted",
        "leave_at",
        "proof",
        "proved_at",
        "ready",
        "revoked",
    )

    def __init__(self, channel: str, proof: Proof | None = None) -> None:
        self.channel = channel
        self.proof = proof
        """What opened it; looked up again with each heartbeat."""
        self.proved_at = time.monotonic()
        """When (monotonic seconds) the proof was looked up last; its reader comes with one that has just been."""
        self.doubted = False
        """Whether the proof may have ended just now: not a word further before that has been looked up."""
        self.revoked = False
        """Whether the proof holds no more."""
        self.ready = False
        """Whether Redis has acknowledged the channel."""
        self.at = 0
        """The offset up to which the reader has told; the hub compares it with the log's top now and then."""
        self.leave_at: float | None = None
        """When (monotonic seconds) the reader should end, because its process does."""
        self._news = Flag()
        self._items: deque[Announced] | None = None
        self._gap = False

    def wait_ready(self, seconds: float) -> bool:
        """Wait for the acknowledgement; whether it came."""
        deadline = time.monotonic() + seconds
        # Other news may come first, of a gap or that the process stops; they are not lost.
        while not self.ready and self._news.wait(deadline - time.monotonic()):
            self._news.clear()
        return self.ready

    def take(self, wait: float) -> Announced | None:
        """The next announcement, or None when none came within `wait` seconds, or some were `missed`, or there is
        something else to look at."""
        if not self._items and not self._gap and not self.doubted:
            self._news.wait(wait)
        self._news.clear()
        return self._items.popleft() if self._items and not self._gap else None

    def missed(self) -> bool:
        """Whether announcements were missed since this was last asked: then the log must be read."""
        missed, self._gap = self._gap, False
        return missed

    def acknowledge(self) -> None:
        """Redis has the subscription."""
        self.ready = True
        self._news.set()

    def put(self, item: Announced) -> None:
        """Hand over an announcement."""
        if self._items is None:
            self._items = deque()
        if len(self._items) >= MAX_BUFFERED:
            self.miss()
            return
        self._items.append(item)
        self._news.set()

    def miss(self) -> None:
        """Something may have been missed."""
        self._gap = True
        self._items = None
        self._news.set()

    def doubt(self) -> None:
        """The proof may hold no more: have the reader look before it tells anything else."""
        self.doubted = True
        self._news.set()

    def revoke(self) -> None:
        """The proof holds no more."""
        self.revoked = True
        self._news.set()

    def behind(self, top: int) -> bool:
        """Whether the log goes further than the reader, and nothing is on its way to it."""
        return self.ready and not self._items and not self._gap and self.at < top

    def leave(self, at: float) -> None:
        """Ask the reader to end at a moment (monotonic seconds)."""
        self.leave_at = at
        self._news.set()
