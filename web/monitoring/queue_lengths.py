"""How much waits in the queues, where the broker is a Redis: there a queue is a list."""

from collections.abc import Mapping, Sequence
from typing import Any

from kombu.connection import Connection

from core.messaging.writable import require_writable
from core.stores.redis import translate_errors

TIMEOUT = 0.2
"""Seconds to reach the broker, and again for its answer. There is no second try."""


class Queues:
    """The broker's queues, read through kombu, whose spellings of a broker's address are its own."""

    def __init__(self, broker_url: str) -> None:
        self._connection = Connection(
            broker_url,
            transport_options={
                # Of Redis, and of AMQP, whose own `connect_timeout` below does not hold for the good-bye.
                **{"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "max_retries": 0},
                **{"read_timeout": TIMEOUT, "write_timeout": TIMEOUT},
            },
        )

    @property
    def countable(self) -> bool:
        """Whether the broker is a Redis."""
        return bool(self._connection.transport.driver_type == "redis")

    def ping(self) -> None:
        """Raise what the transport raises when the broker does not answer, or takes nothing.

        A Redis is asked whether it takes writes: one that has been demoted answers, and keeps nothing.
        """
        if self.countable:
            channel: Any = self._connection.default_channel
            require_writable(channel.client)
            return
        with self._connection.clone(connect_timeout=TIMEOUT) as connection:
            connection.connect()

    def lengths(self, names: Sequence[str]) -> Mapping[str, int]:
        """How many messages wait in each queue, those left out that a worker has already taken.

        Raises RedisUnavailable or kombu's OperationalError.
        """
        with translate_errors():
            channel: Any = self._connection.default_channel
            with channel.client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.llen(name)
                return dict(zip(names, pipe.execute(), strict=True))
