"""One pub/sub connection per process. It fans announcements out to the readers of event streams, and replies
of workers out to the requests that wait for them.

One thread (a greenlet under gevent) owns the connection: it alone subscribes, unsubscribes and reads.
"""

import json
import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any, NamedTuple

from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError

from core.errors import Unavailable
from core.event_log import Position
from core.replies import Reply
from web.sse import frame

logger = logging.getLogger(__name__)

ACKNOWLEDGED = 0.4
"""Seconds to wait for Redis to acknowledge a subscription."""
IDLE = 1.0
"""Seconds after which the owner looks around although nothing came."""
BUFFER = 256
"""Announcements kept for a reader that is busy; beyond that it reads the log instead."""


class Announced(NamedTuple):
    """An event as it is sent to browsers, encoded once for all readers of this process."""

    position: Position | None
    """None: not part of the log, and the last thing that is said (the session is over)."""
    type: str
    data: str
    frame: bytes


@dataclass(eq=False)
class Subscription:
    """One reader's view of a channel."""

    channel: str
    ready: Flag = field(default_factory=Flag)
    _arrived: Flag = field(default_factory=Flag)
    _items: deque[Announced] = field(default_factory=deque)
    _gap: bool = False

    def take(self, wait: float) -> Announced | None:
        """The next announcement, or None when none came within `wait` seconds or some were missed: read the log."""
        if not self._items and not self._gap:
            self._arrived.wait(wait)
        self._arrived.clear()
        if self._gap:
            self._gap = False
            self._items.clear()
            return None
        return self._items.popleft() if self._items else None

    def put(self, item: Announced) -> None:
        """Hand over an announcement. Called by the hub's owner only."""
        if len(self._items) >= BUFFER:
            self.miss()
            return
        self._items.append(item)
        self._arrived.set()

    def miss(self) -> None:
        """Something may have been missed. Called by the hub's owner only."""
        self._gap = True
        self._items.clear()
        self._arrived.set()


class Waiter:
    """A request that waits for one reply."""

    def __init__(self) -> None:
        self._came = Flag()
        self._reply: Reply | None = None

    def wait(self, seconds: float) -> Reply | None:
        """The reply, or None when it does not come in time."""
        self._came.wait(seconds)
        return self._reply

    def put(self, reply: Reply) -> None:
        """Hand over the reply."""
        self._reply = reply
        self._came.set()


class Hub:
    """The process's ear on Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.reply_channel = f"sb:replies:{os.urandom(8).hex()}"
        self._connected = Flag()
        self._lock = Lock()
        self._owner: Thread | None = None
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._waiters: dict[str, Waiter] = {}
        self._wanted: deque[tuple[str, str]] = deque()
        """Subscribe and unsubscribe commands for the owner, in order."""
        self._pending: dict[str, int] = {}
        """Subscribe commands sent and not yet acknowledged, by channel."""
        self._closed = False

    @contextmanager
    def subscribe(self, channel: str) -> Iterator[Subscription]:
        """Everything announced on the channel from now on. Raises Unavailable when Redis does not acknowledge."""
        self._start()
        subscription = Subscription(channel)
        with self._lock:
            readers = self._subscriptions.setdefault(channel, set())
            first = not readers
            readers.add(subscription)
            if first:
                self._wanted.append(("subscribe", channel))
                self._pending[channel] = self._pending.get(channel, 0) + 1
            elif not self._pending.get(channel):
                subscription.ready.set()
        try:
            if first:
                self._wake()
            if not subscription.ready.wait(ACKNOWLEDGED):
                raise Unavailable(retry_after=2)
            yield subscription
        finally:
            with self._lock:
                readers.discard(subscription)
                if not readers and self._subscriptions.get(channel) is readers:
                    del self._subscriptions[channel]
                    self._wanted.append(("unsubscribe", channel))

    @contextmanager
    def expect(self, task_id: str) -> Iterator[Waiter]:
        """A waiter for the reply to a task that is about to be sent. Raises Unavailable without Redis."""
        self._start()
        waiter = Waiter()
        self._waiters[task_id] = waiter
        try:
            yield waiter
        finally:
            del self._waiters[task_id]

    def close(self) -> None:
        """Let the owner end. Waits for it a moment."""
        self._closed = True
        if self._owner is not None:
            with suppress(RedisError):
                self._wake()
            self._owner.join(2 * IDLE)

    def _start(self) -> None:
        with self._lock:
            if self._owner is None:
                self._owner = Thread(target=self._own, name="hub", daemon=True)
                self._owner.start()
        if not self._connected.wait(ACKNOWLEDGED):
            raise Unavailable(retry_after=2)

    def _wake(self) -> None:
        # The owner is waiting for messages; so it is sent one.
        self._redis.publish(self.reply_channel, "")

    def _own(self) -> None:
        pause = 0.1
        while not self._closed:
            pubsub = self._redis.pubsub()
            try:
                pubsub.subscribe(self.reply_channel, *self._channels())
                while not self._closed:
                    self._obey(pubsub)
                    message = pubsub.get_message(timeout=IDLE)
                    while message is not None:
                        self._dispatch(message)
                        message = pubsub.get_message(timeout=0)
                    pause = 0.1
            except RedisError as error:
                logger.warning("the connection to Redis is lost: %s", type(error).__name__)
            except Exception:
                logger.exception("the hub failed and starts again")
            finally:
                self._connected.clear()
                pubsub.close()
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _channels(self) -> list[str]:
        """All channels that have readers; what was wanted before is contained in it."""
        with self._lock:
            self._wanted.clear()
            self._pending.clear()
            return list(self._subscriptions)

    def _obey(self, pubsub: PubSub) -> None:
        while self._wanted:
            verb, channel = self._wanted.popleft()
            if verb == "subscribe":
                pubsub.subscribe(channel)
            else:
                pubsub.unsubscribe(channel)

    def _dispatch(self, message: dict[str, Any]) -> None:
        channel = message["channel"]
        if message["type"] == "subscribe":
            self._acknowledge(channel)
        elif message["type"] == "message" and channel == self.reply_channel:
            self._reply(message["data"])
        elif message["type"] == "message":
            announced = _announced(message["data"])
            for subscription in self._readers(channel):
                subscription.put(announced)

    def _acknowledge(self, channel: str) -> None:
        if channel == self.reply_channel:
            self._connected.set()
            return
        with self._lock:
            solicited = self._pending.get(channel, 0)
            left = self._pending[channel] = max(0, solicited - 1)
        if left:
            return  # readers have left and come again meanwhile: the last acknowledgement counts
        self._pending.pop(channel, None)
        for subscription in self._readers(channel):
            # An acknowledgement that nobody asked for follows a reconnect: something may have been missed.
            if subscription.ready.is_set():
                subscription.miss()
            subscription.ready.set()

    def _reply(self, data: str) -> None:
        if data:
            reply = Reply.load(data)
            waiter = self._waiters.get(reply.task_id)
            if waiter is not None:
                waiter.put(reply)

    def _readers(self, channel: str) -> list[Subscription]:
        with self._lock:
            return list(self._subscriptions.get(channel, ()))


def _announced(data: str) -> Announced:
    message = json.loads(data)
    position = Position.parse(message["id"]) if "id" in message else None
    kind, text = message["type"], message["data"]
    return Announced(position, kind, text, frame(kind, text, message.get("id")))
