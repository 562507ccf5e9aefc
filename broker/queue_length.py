"""How many messages wait in a queue, asked of the broker."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.exceptions import OperationalError

NO_SUCH_QUEUE = "404"
"""The code of an AMQP error, which kombu's Redis has as a text."""


def queue_length(connection: Any, queue: str) -> int:
    """Messages that no worker has taken yet; 0 for a queue that is not there, which an empty one is not in Redis.

    Raises OperationalError, or what Redis raises, when the broker is away, and AMQPError when it refuses.
    """
    with channel_of(connection) as channel:
        try:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors as error:
            if str(error.reply_code) != NO_SUCH_QUEUE:
                raise
            return 0


@contextmanager
def channel_of(connection: Any) -> Iterator[Any]:
    """A channel over this connection, which is made if need be: of several brokers each is tried once, at once.

    Raises OperationalError, or what Redis raises, when the broker is away.
    """
    try:
        connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1), interval_start=0)
        with connection.channel() as channel:
            yield channel
    except OSError as error:  # AMQP's, such as a silence that was too long
        raise OperationalError(str(error)) from error
