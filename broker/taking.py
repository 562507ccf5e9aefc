"""Whether a RabbitMQ takes messages: one that is short of memory or disk answers everything else."""

from typing import Any

from amqp import Message

from broker.amqp_transport import Unroutable

NOBODY = "nobody"
"""A key that no queue is bound with: the message goes nowhere."""


def require_taking(channel: Any, exchange: str) -> None:
    """Have the broker confirm a message to this exchange. One that is not there is made by whoever sends to it.

    Raises amqp's Blocked for an alarm, AccessRefused without the permission to send, and OSError when it is away.
    """
    try:
        channel.basic_publish_confirm(Message(""), exchange=exchange, routing_key=NOBODY)
    except Unroutable:
        return
