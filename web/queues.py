"""How much waits in the queues, where the broker is a Redis: there a queue is a list."""

from collections.abc import Mapping, Sequence
from typing import Any

from kombu.connection import Connection

TIMEOUT = 0.2
"""Seconds to reach the broker, and again for its answer. There is no second try."""


class Queues:
    """The broker's queues, read through kombu, whose spellings of a broker's address are its own."""

    def __init__(self, broker_url: str) -> None:
        self._connection = Connection(
            broker_url,
            transport_options={"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "max_retries": 0},
        )

    @property
    def countable(self) -> bool:
        """Whether the broker is a Redis."""
        return bool(self._connection.transport.driver_type == "redis")

    def lengths(self, names: Sequence[str]) -> Mapping[str, int]:
        """How many messages wait in each queue, those left out that a worker has already taken.

        Raises RedisError or kombu's OperationalError.
        """
        channel: Any = self._connection.default_channel
        with channel.client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.llen(name)
            return dict(zip(names, pipe.execute(), strict=True))
