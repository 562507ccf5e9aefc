"""How much waits in the queues, asked of the broker through kombu, whose spellings of its address are its own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from kombu.connection import Connection

from broker.causes import translate_errors
from broker.queue_length import channel_of, queue_length
from broker.taking import require_taking
from celery_config import BROKER_VARIABLE, QueueNames
from core.stores.writable import require_writable

TIMEOUT = 0.2
"""Seconds to reach the broker, and again for its answer. There is no second try."""


class Queues:
    """The broker's queues."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._connection = Connection(
            broker_url, transport_options={"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        )

    def ping(self) -> None:
        """Raise BrokerAway when the broker does not answer, refuses, or takes nothing.

        A Redis is asked whether it takes writes: one that has been demoted answers, and keeps nothing. A RabbitMQ
        that is short of memory or disk answers, and takes nothing.
        """
        with self._connected() as connection:
            _require_taking(connection)

    def lengths(self, names: Sequence[str]) -> Mapping[str, int]:
        """How many messages wait in each queue, those left out that a worker has already taken.

        Raises BrokerAway as `ping` does.
        """
        with self._connected() as connection:
            _require_taking(connection)
            return {name: queue_length(connection, name) for name in names}

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        # A new connection each time: one that was kept would have broken with a broker that is long back.
        with translate_errors(BROKER_VARIABLE, self._broker_url), self._connection.clone() as connection:
            yield connection


def _require_taking(connection: Connection) -> None:
    with channel_of(connection) as channel:
        match connection.transport.driver_type:
            case "redis":
                require_writable(channel.client)
            case "amqp":
                require_taking(channel, QueueNames.SESSIONS)
