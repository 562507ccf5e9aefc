"""Celery's connections to the broker, whose every use comes to an end.

kombu tries for ever where its caller says nothing else. Celery's heartbeats, replies to remote control and questions
to workers say nothing, and while a broker takes no messages their process would do nothing else.
"""

from typing import Any

from celery.app import amqp
from kombu.connection import Connection as KombuConnection


class Connection(KombuConnection):
    """A connection that is tried once more, at once, where nothing else is said; with several brokers, each is."""

    def ensure(
        self, obj: Any, fun: Any, errback: Any = None, max_retries: int | None = None, *args: Any, **options: Any
    ) -> Any:
        """`fun`, which is called again over a new connection when this one has broken. That raises OperationalError
        in the end."""
        if max_retries is None:
            max_retries, options = max(1, len(self.alt) - 1), {**options, "interval_start": 0, "interval_step": 0}
        return super().ensure(obj, fun, errback, max_retries, *args, **options)


class AMQP(amqp.AMQP):
    """What a Celery application connects with: `Celery(..., amqp=AMQP)`."""

    Connection = Connection
