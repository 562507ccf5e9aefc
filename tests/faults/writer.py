"""A writer that appends to one session's log whatever happens to Redis, and knows exactly what the log has got."""

import json
import random
import threading
from datetime import datetime
from uuid import UUID

from core.conversation.event_log import EventLog
from core.conversation.position import Position
from core.stores.redis import RedisUnavailable
from tests.support.valkey import Valkey

TEXTS = ("word ", "Ünïcödé 🤷🏽‍♀️ ", "\r\n\n\u2028", "data: id: 7\n\n", " ", "x" * 3000)


class Writer(threading.Thread):
    """Appends until it is stopped."""

    def __init__(self, valkey: Valkey, session_id: UUID, expires_at: datetime, *, pause: float, seed: int) -> None:
        """`pause` is the mean time between two appends, in seconds."""
        super().__init__(daemon=True)
        self.entries: dict[Position, int] = {}
        """What the log has got: the number in each event."""
        self.session_id = session_id
        self.lock = threading.Lock()
        """Hold it to keep the writer from writing, for instance while the log is taken away."""
        self._log = EventLog(valkey.client())
        self._expires_at = expires_at
        self._pause = pause
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self._number = 0
        self.start_at = self.append()

    @property
    def end(self) -> Position:
        """The last event's position."""
        return next(reversed(self.entries))

    def append(self, text: str = "") -> Position:
        """Append one event."""
        self._number += 1
        data = {"n": self._number, "text": text}
        position = self._log.append(self.session_id, "delta", data, expires_at=self._expires_at)
        self.entries[position] = self._number
        return position

    def run(self) -> None:
        """Append words with pauses, and sometimes many at once."""
        while not self._stopped.wait(self._random.expovariate(1 / self._pause)):
            with self.lock:
                try:
                    for _ in range(self._random.choice((1, 1, 1, 1, 1, 40))):
                        self.append(self._random.choice(TEXTS))
                except RedisUnavailable:
                    self._recover()

    def stop(self) -> None:
        """Append no more."""
        self._stopped.set()
        self.join(30)

    def _recover(self) -> None:
        """The last append may or may not have come to pass. The log knows."""
        last = self.end
        while not self._stopped.wait(0.05):
            try:
                page = self._log.read(self.session_id, last.offset)
            except RedisUnavailable:
                continue
            for event in page.events:
                self.entries[Position(page.epoch, event.offset)] = json.loads(event.data)["n"]
            return
