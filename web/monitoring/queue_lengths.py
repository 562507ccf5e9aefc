"""How much waits in the queues, asked of the broker through kombu, whose spellings of its address are its own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from kombu.connection import Connection

from broker.queue_length import channel_of, queue_length
from core.messaging.writable import require_writable
from core.stores.redis import translate_errors

TIMEOUT = 0.2
"""Seconds to reach the broker, and again for its answer. There is no second try."""


class Queues:
    """The broker's queues."""

    def __init__(self, broker_url: str) -> None:
        self._connection = Connection(
            broker_url, transport_options={"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        )

    def ping(self) -> None:
        """Raise what the transport raises when the broker does not answer, or takes nothing.

        A Redis is asked whether it takes writes: one that has been demoted answers, and keeps nothing.
        """
        with self._connected() as connection, channel_of(connection) as channel:
            if connection.transport.driver_type == "redis":
                require_writable(channel.client)

    def lengths(self, names: Sequence[str]) -> Mapping[str, int]:
        """How many messages wait in each queue, those left out that a worker has already taken.

        Raises RedisUnavailable or kombu's OperationalError.
        """
        with self._connected() as connection:
            return {name: queue_length(connection, name) for name in names}

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        # A new connection each time: one that was kept would have broken with a broker that is long back.
        with translate_errors(), self._connection.clone() as connection:
            yield connection
