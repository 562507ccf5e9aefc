"""Celery's connections to the broker, whose every use comes to an end.

kombu tries for ever where its caller says nothing else. Celery's heartbeats, replies to remote control and questions
to workers say nothing: while a broker takes no messages, their process would do nothing else, and without a pause.
"""

from typing import Any

from celery.app import amqp
from kombu import connection


class _Ending:
    """A connection that is tried once more, at once, where nothing else is said; with several brokers, each is."""

    alt: list[str]

    def ensure(
        self, obj: Any, fun: Any, errback: Any = None, max_retries: int | None = None, *args: Any, **options: Any
    ) -> Any:
        """`fun`, which is called again over a new connection when this one has broken. That raises OperationalError
        in the end."""
        if max_retries is None:
            max_retries, options = max(1, len(self.alt) - 1), {**options, "interval_start": 0, "interval_step": 0}
        return super().ensure(obj, fun, errback, max_retries, *args, **options)  # type: ignore[misc]


class _PooledConnection(_Ending, connection.PooledConnection):
    """One of a pool's."""


class _Pool(connection.ConnectionPool):
    def new(self) -> _PooledConnection:
        return _PooledConnection(self, **dict(self.connection._info(resolve=False)))


class Connection(_Ending, connection.Connection):
    """One connection, or the pattern of a pool's."""

    def Pool(self, limit: int | None = None, **options: Any) -> _Pool:  # noqa: N802
        """A pool of connections like this one."""
        return _Pool(self, limit, **options)


class AMQP(amqp.AMQP):
    """What a Celery application connects with: `Celery(..., amqp=AMQP)`."""

    Connection = Connection
