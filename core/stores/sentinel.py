"""The master behind Redis Sentinel: every connection asks where it is before it is made.

So a pool needs to know nothing of a failover. A connection that breaks, or whose server takes no writes any more, is
dropped as any other, and the one that takes its place leads to the new master. redis-py's own pool for Sentinel does
the same, for its own kind of pool only; kombu and the event loop have others.
"""

import asyncio
from typing import Any

from redis import asyncio as redis_asyncio
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from core.stores.redis_url import RedisServer

SENTINEL_TIMEOUT = 0.2
"""Seconds to reach a sentinel, and again for its answer. Then the next is asked."""


class Master:
    """Where the master is, by what its sentinels say."""

    def __init__(self, server: RedisServer) -> None:
        options = {
            "username": server.sentinel_username,
            "password": server.sentinel_password,
            "socket_timeout": SENTINEL_TIMEOUT,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
            **({"ssl": True, **server.tls_options} if server.tls is not None else {}),
        }
        self._sentinel = Sentinel(server.sentinels, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        self._name = server.master

    def address(self) -> tuple[str, int]:
        """Its host and port. Raises redis-py's ConnectionError when no sentinel knows one that lives."""
        try:
            host, port = self._sentinel.discover_master(self._name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:  # whose message has every option of every sentinel's client
            raise MasterNotFoundError(f"no sentinel names a living master {self._name}") from None
        return str(host), int(port)


class _Follows:
    """A connection to the master, wherever that is when the connection is made."""

    host: str
    port: int

    def __init__(self, *, master: Master, **options: Any) -> None:
        self._master = master
        super().__init__(**options)

    def _connect(self) -> Any:
        self.host, self.port = self._master.address()
        return super()._connect()  # type: ignore[misc]


class _AsyncFollows(_Follows):
    async def _connect(self) -> None:
        # Rare, and short: not worth a second client of the sentinels.
        self.host, self.port = await asyncio.to_thread(self._master.address)
        await super(_Follows, self)._connect()  # type: ignore[misc]


class MasterConnection(_Follows, Connection):
    """Over TCP."""


class SecureMasterConnection(_Follows, SSLConnection):
    """Over TLS."""


class AsyncMasterConnection(_AsyncFollows, redis_asyncio.Connection):
    """Over TCP, on an event loop."""


class AsyncSecureMasterConnection(_AsyncFollows, redis_asyncio.SSLConnection):
    """Over TLS, on an event loop."""


def connection_options(server: RedisServer, *, on_loop: bool = False) -> dict[str, Any]:
    """What a pool needs to have connections to the master; `on_loop`, for an event loop."""
    kinds = (
        (AsyncMasterConnection, AsyncSecureMasterConnection)
        if on_loop
        else (MasterConnection, SecureMasterConnection)
    )
    return {
        "connection_class": kinds[server.tls is not None],
        "master": Master(server),
        "username": server.username,
        "password": server.password,
        "db": server.db,
        **server.tls_options,
    }


def new_pool(server: RedisServer, **options: Any) -> ConnectionPool:
    """A pool of connections to the master."""
    return ConnectionPool(**connection_options(server), **options)


def new_async_pool(server: RedisServer, **options: Any) -> Any:
    """A pool of connections to the master, for an event loop."""
    return redis_asyncio.ConnectionPool(**connection_options(server, on_loop=True), **options)
