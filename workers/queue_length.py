"""How many messages wait in a queue, asked of the broker."""

from typing import Any


def queue_length(connection: Any, queue: str) -> int:
    """Messages that no worker has taken yet; 0 for a queue that is not there, which an empty one is not in Redis.

    Raises what the transport raises when the broker is away.
    """
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:
        return 0
