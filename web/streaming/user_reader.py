"""The body of a user's event stream: what changes in any of their sessions, as it is announced.

There is no log to catch up from. The stream begins with `reset`, and says it again after whatever may have been
missed: what has happened before is in the list then.
"""

import json
import random
import time
from collections.abc import Generator

from core.auth.principal import Principal
from core.auth.proofs import Proof
from core.conversation.user_events import user_channel
from core.errors import Unavailable
from web.streaming.reader import EXPIRED, HEARTBEAT_INTERVAL, MEAN_STREAM_LIFETIME, StreamSources
from web.streaming.sse import COMMENT, RETRY, frame
from web.streaming.subscription import Subscription


class UserReader:
    """One stream."""

    __slots__ = ("_beat_at", "_principal", "_proof", "_rotate_at", "_sources", "_subscription")

    def __init__(self, sources: StreamSources, principal: Principal) -> None:
        self._sources = sources
        self._principal = principal
        self._proof = Proof.for_user(principal)
        self._rotate_at = time.monotonic() + MEAN_STREAM_LIFETIME * random.uniform(0.8, 1.2)  # noqa: S311
        self._beat_at = time.monotonic() + HEARTBEAT_INTERVAL
        self._subscription: Subscription | None = None

    def leave(self) -> None:
        """End it, its client has left."""
        if self._subscription is not None:
            self._subscription.leave(time.monotonic())

    def read(self) -> Generator[bytes, None, None]:
        """The response's body."""
        counters = self._sources.counters
        counters.streams.labels("user").inc()
        with counters.open_streams.track_inprogress():
            yield COMMENT + RETRY
            try:
                yield from self._tell()
            except Unavailable:
                return  # the client comes back, and fetches the list again

    def _tell(self) -> Generator[bytes, None, None]:
        with self._sources.hub.subscribe(user_channel(self._principal.user_id), self._proof) as subscription:
            self._subscription = subscription
            subscription.doubted = True  # what ended before Redis had the subscription was announced to no reader
            reset: str | None = "begin"
            while True:
                if self._is_revoked(subscription):
                    yield EXPIRED
                    return
                if reset is not None:
                    yield frame("reset", json.dumps({"reason": reset}))
                announced = subscription.take(self._patience(subscription))
                reset = "missed" if subscription.missed() else None
                if announced is not None and not subscription.doubted:
                    yield announced.frame
                    continue
                # What is announced to a stream whose proof is in doubt is told as a reset, if the proof holds.
                reset = reset or ("missed" if announced is not None else None)
                now = time.monotonic()
                if now >= self._rotate_at or (subscription.leave_at is not None and now >= subscription.leave_at):
                    return
                if now >= self._beat_at:
                    self._beat_at = now + HEARTBEAT_INTERVAL
                    yield COMMENT

    def _patience(self, subscription: Subscription) -> float:
        due = min(self._beat_at, self._rotate_at, subscription.leave_at or self._beat_at)
        return max(0.0, due - time.monotonic())

    def _is_revoked(self, subscription: Subscription) -> bool:
        """Whether what opened this stream holds no more, looked up when there is doubt. Raises Unavailable."""
        if subscription.doubted:
            subscription.doubted = False  # first: what is doubted meanwhile is looked up again
            if not self._sources.standing.call(self._proof):
                subscription.revoke()
        return subscription.revoked
