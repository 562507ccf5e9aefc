"""Which queues have a live consumer. Workers say so with each heartbeat; /readyz reads it."""

from collections.abc import Iterable

from redis import Redis

HEARD = 10
"""Seconds that a heartbeat counts; Celery's workers send one every two."""


class Presence:
    """Consumers by queue."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def announce(self, queues: Iterable[str], node: str) -> None:
        """This node consumes from these queues."""
        with self._redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.set(_key(queue), node, ex=HEARD)
            pipe.execute()

    def withdraw(self, queues: Iterable[str]) -> None:
        """This node stops; another on the same queue says so with its next heartbeat."""
        self._redis.delete(*[_key(queue) for queue in queues])

    def missing(self, queues: Iterable[str]) -> list[str]:
        """Those of the queues that nobody has consumed from lately."""
        names = list(queues)
        found = self._redis.mget([_key(name) for name in names])
        return [name for name, node in zip(names, found, strict=True) if node is None]


def _key(queue: str) -> str:
    return f"sb:consumer:{queue}"
