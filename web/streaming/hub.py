"""One pub/sub connection per process. It fans announcements out to the readers of event streams, and replies
of workers out to the requests that wait for them.

One thread (a greenlet under gevent) owns the connection: it alone subscribes, unsubscribes and reads.
"""

import json
import logging
import os
import random
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count, groupby
from operator import itemgetter
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any

from core.auth.proofs import Proof, Proofs
from core.conversation.event_log import EventLog
from core.conversation.keys import session_of
from core.conversation.position import Position
from core.conversation.user_events import is_user_channel
from core.errors import SwitchboardError, Unavailable
from core.messaging.replies import Reply, load_announced
from core.messaging.revocations import CHANNEL as REVOKED
from core.stores.redis import PubSub, Redis, RedisReadOnly, RedisWritesRefused
from core.stores.writable import require_writable
from web.streaming.sse import frame
from web.streaming.subscription import Announced, Subscription

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 0.4
"""Seconds to wait for the connection to Redis."""
SUBSCRIBE_TIMEOUT = 5.0
"""Seconds to wait for Redis to acknowledge a subscription: many readers may come at once, after a deploy."""
COMPARE_INTERVAL = 5.0
"""Seconds within which every reader's place is compared with its log's top."""
BATCH_SIZE = 100
"""How many are compared at once, so that no event waits behind it for long."""
VERIFY_INTERVAL = 15.0
"""Seconds within which every reader's proof is compared with the database: a stream's heartbeat."""
UNVERIFIED_GRACE = 60.0
"""Seconds that a reader is told events on a proof that can't be looked up, because the database is away."""
MESSAGES_AT_A_STRETCH = 50
"""Messages after which readers have their turn, also when there are more: the owner waits for none that has come."""
POLL_TIMEOUT = 0.5
"""Seconds after which the owner looks around although nothing came."""
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What a message that is no event makes of reading it."""
PING_INTERVAL = 1.0
"""Seconds of silence after which Redis is asked, over the subscription, whether it is there."""
MAX_SILENCE = 3.0
"""Seconds of silence after which a subscription is given up: its Redis is frozen, or its cable is cut."""


class Waiter:
    """A request that waits for one reply."""

    def __init__(self) -> None:
        self._came = Flag()
        self._reply: Reply | None = None
        self._error: SwitchboardError | None = None

    def wait(self, seconds: float) -> Reply | None:
        """The reply, or None when it does not come in time. Raises the error for which none will come."""
        self._came.wait(seconds)
        if self._error is not None:
            raise self._error
        return self._reply

    def put(self, reply: Reply) -> None:
        """Hand over the reply."""
        self._reply = reply
        self._came.set()

    def fail(self, error: SwitchboardError) -> None:
        """Say why no reply will come."""
        self._error = error
        self._came.set()


class Hub:
    """The process's ear on Redis."""

    def __init__(self, redis: Redis, proofs: Proofs | None = None) -> None:
        """Without `proofs`, those of its readers are not looked up again."""
        self._redis = redis
        self._proofs = proofs
        self.reply_channel = f"sb:replies:{os.urandom(8).hex()}"
        self._connected = Flag()
        self._lock = Lock()
        self._owner: Thread | None = None
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._waiters: dict[str, Waiter] = {}
        self._wanted: deque[tuple[str, str]] = deque()
        """Subscribe and unsubscribe commands for the owner, in order."""
        self._woken = False
        """Whether the owner has been sent a message that makes it look at them."""
        self._pending: dict[str, int] = {}
        """Subscribe commands sent and not yet acknowledged, by channel."""
        self._closed = Flag()
        self._demoted = Flag()
        """Whether the Redis at the other end takes no writes any more."""
        self._hurry = Flag()
        """Whether the readers' proofs are to be looked up at once."""
        self._malformed = 0
        """Announcements that were passed over."""
        self._log = EventLog(redis)

    @contextmanager
    def subscribe(self, channel: str, proof: Proof | None = None) -> Iterator[Subscription]:
        """Everything announced on the channel from now on, for a reader with this proof. Raises Unavailable when
        Redis does not acknowledge."""
        self._start()
        subscription = Subscription(channel, proof)
        wake = self._add(subscription)
        try:
            if wake:
                self._wake()
            if not subscription.wait_ready(SUBSCRIBE_TIMEOUT):
                raise Unavailable(retry_after=2)
            yield subscription
        finally:
            self._remove(subscription)

    def drain(self, seconds: float) -> None:
        """The process is about to stop: ask all readers to leave, spread over some seconds."""
        with self._lock:
            leaving = [reader for readers in self._subscriptions.values() for reader in readers]
        now = time.monotonic()
        for reader in leaving:
            reader.leave(now + random.uniform(0, seconds))  # noqa: S311

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
        self._closed.set()
        self._hurry.set()
        if self._owner is not None:
            with suppress(Unavailable):
                self._wake()
            self._owner.join(2 * POLL_TIMEOUT)

    def _start(self) -> None:
        with self._lock:
            if self._owner is None:
                self._owner = Thread(target=self._own, name="hub", daemon=True)
                self._owner.start()
                Thread(target=self._compare, name="hub-compare", daemon=True).start()
                Thread(target=self._verify, name="hub-verify", daemon=True).start()
        if not self._connected.wait(CONNECT_TIMEOUT):
            raise Unavailable(retry_after=2)

    def _wake(self) -> None:
        # The owner is waiting for messages; so it is sent one.
        self._redis.publish(self.reply_channel, "")

    def _add(self, subscription: Subscription) -> bool:
        """Register a reader; whether Redis must be told, and the owner be woken to do that."""
        channel = subscription.channel
        with self._lock:
            readers = self._subscriptions.setdefault(channel, set())
            first = not readers
            readers.add(subscription)
            if first:
                self._wanted.append(("subscribe", channel))
                self._pending[channel] = self._pending.get(channel, 0) + 1
                wake, self._woken = not self._woken, True
                return wake
            if not self._pending.get(channel):
                subscription.acknowledge()
        return False

    def _remove(self, subscription: Subscription) -> None:
        channel = subscription.channel
        with self._lock:
            readers = self._subscriptions[channel]
            readers.discard(subscription)
            if not readers:
                del self._subscriptions[channel]
                self._wanted.append(("unsubscribe", channel))

    def _own(self) -> None:
        pause = 0.1
        while not self._closed.is_set():
            pubsub = self._redis.pubsub()
            try:
                pubsub.subscribe(self.reply_channel, REVOKED, *self._channels())
                self._demoted.clear()
                heard = asked = time.monotonic()
                for number in count(1):
                    if self._closed.is_set() or self._demoted.is_set():
                        break
                    if number % MESSAGES_AT_A_STRETCH == 0:
                        time.sleep(0)
                    self._obey(pubsub)
                    message = pubsub.get_message(timeout=POLL_TIMEOUT)
                    now = time.monotonic()
                    if message is not None:
                        heard = now
                        self._dispatch(message)
                    elif now - heard > MAX_SILENCE:
                        logger.warning("Redis has been silent for %.0f s and is connected to anew", now - heard)
                        break
                    elif now - max(heard, asked) > PING_INTERVAL:
                        asked = now
                        pubsub.ping()
                    pause = 0.1
            except Unavailable as error:
                logger.warning("the connection to Redis is lost: %s", error.reason)
            except Exception:
                logger.exception("the hub failed and starts again")
            finally:
                self._connected.clear()
                pubsub.close()
            if not self._closed.is_set():
                time.sleep(pause)
                pause = min(pause * 2, 2.0)

    def _compare(self) -> None:
        """Now and then compare all readers' places with their logs' tops, so that a lost last event is found."""
        names: list[str] = []
        pause = COMPARE_INTERVAL
        while not self._closed.wait(pause):
            if not names:
                with self._lock:
                    names = [name for name in self._subscriptions if not is_user_channel(name)]
                pause = COMPARE_INTERVAL / max(1, -(-len(names) // BATCH_SIZE))
            compared, names = names[:BATCH_SIZE], names[BATCH_SIZE:]
            try:
                require_writable(self._redis)
            except RedisReadOnly:
                # It has been demoted: what is announced now is announced elsewhere.
                self._redis.connection_pool.disconnect(inuse_connections=False)
                self._demoted.set()
                continue
            except RedisWritesRefused:
                pass  # it is full, and what it has can be read
            except Unavailable:
                continue
            try:
                tops = self._log.tops([session_of(name) for name in compared]) if compared else []
            except Unavailable:
                continue  # the owner's connection is lost as well: after it, all logs are read again
            for name, top in zip(compared, tops, strict=True):
                for reader in self._readers(name):
                    if reader.behind(top):
                        reader.miss()

    def _verify(self) -> None:
        """With each heartbeat look up again what all readers have proved, some at a time; a revocation's announcement
        may have been lost."""
        while self._proofs is not None and not self._closed.is_set():
            self._hurry.wait(VERIFY_INTERVAL)
            self._hurry.clear()
            with self._lock:
                readers = [each for some in self._subscriptions.values() for each in some if each.proof is not None]
            for at in range(0, len(readers), BATCH_SIZE):
                self._verify_some(self._proofs, readers[at : at + BATCH_SIZE])

    def _verify_some(self, proofs: Proofs, readers: list[Subscription]) -> None:
        try:
            held = proofs.still_hold([reader.proof for reader in readers if reader.proof is not None])
            now = time.monotonic()
            for reader in readers:
                reader.proved_at = now
        except Unavailable:
            # Each by its own last proof, the one that has opened it included.
            now = time.monotonic()
            held = [now - reader.proved_at < UNVERIFIED_GRACE for reader in readers]
        except Exception:
            logger.exception("proofs could not be looked up")
            held = [False] * len(readers)
        for reader, holds in zip(readers, held, strict=True):
            if not holds:
                reader.revoke()

    def _doubt(self, subject: str) -> None:
        """Have the readers look that hold this session, or that this user's login, key or token has opened."""
        with self._lock:
            readers = [
                reader
                for some in self._subscriptions.values()
                for reader in some
                if reader.proof is not None and reader.proof.concerns(subject)
            ]
        for reader in readers:
            reader.doubt()

    def _channels(self) -> list[str]:
        """All channels that have readers; what was wanted before is contained in it."""
        with self._lock:
            self._wanted.clear()
            self._pending.clear()
            return list(self._subscriptions)

    def _obey(self, pubsub: PubSub) -> None:
        with self._lock:
            self._woken = False
            wanted, self._wanted = self._wanted, deque()
        for verb, commands in groupby(wanted, key=itemgetter(0)):
            channels = [channel for _, channel in commands]
            if verb == "subscribe":
                pubsub.subscribe(*channels)
            else:
                pubsub.unsubscribe(*channels)

    def _dispatch(self, message: dict[str, Any]) -> None:
        channel = message["channel"]
        if message["type"] == "subscribe":
            self._acknowledge(channel)
        elif message["type"] == "message" and channel == self.reply_channel:
            self._reply(message["data"])
        elif message["type"] == "message" and channel == REVOKED:
            self._doubt(message["data"])
        elif message["type"] == "message":
            self._announce(channel, message["data"])

    def _announce(self, channel: str, data: str) -> None:
        """Hand an event to its readers. What is no event is passed over: where it stands for one, the offset after it
        has them read the log."""
        try:
            announced = _announced(data, logged=not is_user_channel(channel))
        except MALFORMED as error:
            self._malformed += 1
            # Without its words, which may be a conversation's.
            logger.warning(
                "an announcement on %s is no event (%s) and was passed over; %d so far",
                channel,
                type(error).__name__,
                self._malformed,
            )
            return
        for subscription in self._readers(channel):
            subscription.put(announced)

    def _acknowledge(self, channel: str) -> None:
        if channel == self.reply_channel:
            self._connected.set()
            return
        if channel == REVOKED:
            self._hurry.set()  # announcements that came without a listener are lost
            return
        with self._lock:
            solicited = self._pending.get(channel, 0)
            left = self._pending[channel] = max(0, solicited - 1)
        if left:
            return  # readers have left and come again meanwhile: the last acknowledgement counts
        self._pending.pop(channel, None)
        for subscription in self._readers(channel):
            # An acknowledgement without a request follows a reconnect: something may have been missed.
            if subscription.ready:
                subscription.miss()
            subscription.acknowledge()

    def _reply(self, data: str) -> None:
        if data:
            try:
                replies = load_announced(data)
            except ValueError:
                return  # of a worker of another version: the waiters' time runs out, as without a worker
            for reply in replies:
                waiter = self._waiters.get(reply.task_id)
                if waiter is not None:
                    waiter.put(reply)

    def _readers(self, channel: str) -> list[Subscription]:
        with self._lock:
            return list(self._subscriptions.get(channel, ()))


def _announced(data: str, *, logged: bool) -> Announced:
    """The event of a message, which has a place in a log if it is one of a session's. Raises one of `MALFORMED`."""
    message = json.loads(data)
    kind, text, event_id = message["type"], message["data"], message.get("id")
    position = None if event_id is None else Position.parse(event_id)
    is_last = event_id is None and kind == "expired"
    if not isinstance(kind, str) or not isinstance(text, str) or (logged and position is None and not is_last):
        raise ValueError("not an event of a log")
    return Announced(position, kind, text, frame(kind, text, event_id))
