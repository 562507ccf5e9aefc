"""The client of Redis: its commands, scripts, pipelines and subscriptions raise RedisUnavailable, and nothing else.

An error of a key's own, such as WRONGTYPE, is RedisDamaged, which is a kind of it: nobody has to know the difference.

The only module that knows the driver's exceptions. What a caller does without Redis is the caller's own policy.
"""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self, cast

import redis
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.commands.core import Script
from redis.exceptions import (
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from core.errors import Unavailable
from core.stores import sentinel
from core.stores.redis_url import RedisServer, is_sentinel

__all__ = [
    "AsyncScripts",
    "Pipeline",
    "PubSub",
    "Redis",
    "RedisDamaged",
    "RedisReadOnly",
    "RedisUnavailable",
    "RedisWritesRefused",
    "Script",
    "ScriptCall",
    "checked",
    "connect",
    "new_async_pool",
    "translate_errors",
]

SOCKET_TIMEOUT = 2.0
"""Seconds that one answer of Redis may take."""
CONNECT_TIMEOUT = 0.4
"""Seconds to reach Redis."""
HEALTH_CHECK_INTERVAL = 25
"""Seconds after which an idle connection is checked before it is used."""
MAX_CONNECTIONS = 1000
FEW_CONNECTIONS = 32
LOOKS = 8
"""At an answer, before it is too late: an event loop that was busy with something else has not looked meanwhile, and
its Redis is not to blame."""
BACKOFF = ExponentialWithJitterBackoff(base=0.05, cap=1.0)
MALFORMED = (InvalidResponse, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
"""What the driver's parsers stumble over."""
RETRY_AFTER = 2
"""Seconds after which a client that was refused for want of Redis may try again."""


class RedisUnavailable(Unavailable):
    """Redis did not answer, or answered with an error. `cause` is the driver's exception."""

    @property
    def reason(self) -> str:
        """In words for the log: the cause's class, or what Redis says of its user or its connections."""
        if isinstance(self.cause, NoPermissionError):
            return f"the user of this Redis lacks a right: {self.cause}"
        if "max number of clients" in str(self.cause):
            return "this Redis has no connection left (its maxclients)"
        return super().reason


class RedisWritesRefused(RedisUnavailable):
    """The server answers, and takes no writes."""

    def __init__(self, why: str, *, retry_after: int | None = None) -> None:
        super().__init__(retry_after=retry_after)
        self._why = why

    @property
    def reason(self) -> str:
        """What keeps it from that."""
        return f"this Redis {self._why}, and takes no writes"


class RedisReadOnly(RedisWritesRefused):
    """A failover has demoted it to a replica, or a replica was named."""


class RedisDamaged(RedisUnavailable):
    """Redis is there, and can't do this with what stands in the key: another type, or a text where a number belongs.

    Trying again won't help. A caller that can do without the key goes on; for any other the key is as good as away.
    """


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise RedisUnavailable in place of the driver's errors. For clients that are not ours, such as the broker's;
    `Redis` translates its own."""
    try:
        yield
    except RedisError as error:
        raise _translated(error) from error


def _translated(error: RedisError) -> RedisUnavailable:
    if isinstance(error, ReadOnlyError):
        return RedisReadOnly("is a replica, not the primary", retry_after=RETRY_AFTER)
    why = "is out of memory (its maxmemory)" if isinstance(error, OutOfMemoryError) else _REFUSALS.get(_code(error))
    if why is not None:
        return RedisWritesRefused(why, retry_after=RETRY_AFTER)
    return RedisDamaged() if _concerns_key(error) else RedisUnavailable(retry_after=RETRY_AFTER)


def _concerns_key(error: RedisError) -> bool:
    """Whether it is about what stands in a key. An error without a code (`ERR`, which the driver leaves out) is: of
    arithmetic, or in a script that meets what it can't reckon with. Other codes, such as MISCONF, concern the server.
    """
    if type(error) is not ResponseError:
        return False
    code = _code(error)
    return code == "WRONGTYPE" or not code.isupper()


_REFUSALS = {"MISCONF": "can't write to its disk", "NOREPLICAS": "has too few replicas (min-replicas-to-write)"}
"""By the code of an error that is not a class of the driver's."""


def _code(error: RedisError) -> str:
    return str(error).rpartition(" of pipeline caused error: ")[2].partition(" ")[0]


def checked(connection_class: type[Any]) -> type[Any]:
    """This class of the driver's connections, for which an answer that its parser can't read is a connection that has
    broken: the driver's own raises what the parser stumbled over, such as ValueError, and neither retries it nor
    counts it among its errors."""

    class Checked(connection_class):  # type: ignore[misc]
        def can_read(self, timeout: float = 0) -> bool:
            # The driver looks before each command, whether its connection was ended, and for each message that it
            # waits for. It makes a poll object for that, which under gevent costs a quarter of a command.
            reader = getattr(self._parser, "_reader", None)
            plain = isinstance(self._sock, socket.socket) and not hasattr(self._sock, "pending")  # as TLS has it
            if not plain or reader is None or reader.has_data():
                return bool(super().can_read(timeout))
            return _is_readable(self._sock, timeout)

        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return super().read_response(*args, **options)
            except MALFORMED as error:
                self.disconnect()
                raise redis.exceptions.ConnectionError(f"malformed answer: {type(error).__name__}") from error

    return Checked


def _is_readable(connected: socket.socket, timeout: float | None) -> bool:
    """Whether reading would bring something within `timeout` seconds, be it that the connection has ended."""
    usual = connected.gettimeout()
    connected.settimeout(timeout)
    try:
        connected.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, TimeoutError):
        return False
    except OSError:
        return True
    finally:
        connected.settimeout(usual)
    return True


class PubSub(redis.client.PubSub):
    """Subscriptions."""

    def execute_command(self, *args: Any) -> Any:
        """Send a command, such as SUBSCRIBE. Raises RedisUnavailable."""
        with translate_errors():
            return super().execute_command(*args)  # type: ignore[no-untyped-call]

    def parse_response(self, block: bool = True, timeout: float = 0) -> Any:
        """Read one message. Raises RedisUnavailable."""
        with translate_errors():
            return super().parse_response(block, timeout)  # type: ignore[no-untyped-call]


class Pipeline(redis.client.Pipeline):
    """Commands that are sent together."""

    def __enter__(self) -> Self:
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send them, and return their answers. Raises RedisUnavailable."""
        with translate_errors():
            return super().execute(raise_on_error)

    def execute_each(self) -> list[Any]:
        """Send them, and return their answers, with a RedisDamaged in place of each that is one. Raises
        RedisUnavailable."""
        answers = [
            _translated(answer) if isinstance(answer, RedisError) else answer
            for answer in self.execute(raise_on_error=False)
        ]
        for answer in answers:
            if isinstance(answer, RedisUnavailable) and not isinstance(answer, RedisDamaged):
                raise answer
        return answers

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one at once, between WATCH and MULTI. Raises RedisUnavailable."""
        with translate_errors():
            return super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]


class Redis(redis.Redis):
    """A pool of connections."""

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """A client of the server at this URL, or of the master behind Sentinel."""
        if is_sentinel(url):
            client = cast("Self", cls.from_pool(sentinel.new_pool(RedisServer.parse(url), **options)))
        else:
            client = cast("Self", super().from_url(url, **options))
        pool = client.connection_pool
        pool.connection_class = checked(pool.connection_class)
        return client

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command, and return its answer. Raises RedisUnavailable."""
        with translate_errors():
            try:
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except NoScriptError as error:
                unknown_script = error
        raise unknown_script  # to Script, which loads it and tries again

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Commands that are sent together; in a transaction they are carried out together as well."""
        return Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)

    def pool_use(self) -> tuple[int, int]:
        """How many connections are in use, and how many there may be."""
        _, (in_use, _) = self.connection_pool.get_connection_count()
        return in_use, self.connection_pool.max_connections

    def pubsub(self, **options: Any) -> PubSub:
        """Subscriptions, over a connection of their own."""
        return PubSub(self.connection_pool, event_dispatcher=self._event_dispatcher, **options)


def connect(
    url: str,
    *,
    timeout: float = SOCKET_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    retries: int = 0,
    queue_timeout: float | None = None,
) -> Redis:
    """A client that fails soon rather than hang; it connects with its first command.

    `timeout` and `connect_timeout` are seconds, for each of 1 + `retries` tries. With a `queue_timeout` it has few
    connections, for which callers wait so many seconds: for processes with many threads. Raises ValueError for a URL
    that is none of a Redis server.
    """
    over_tcp = {} if url.startswith("unix://") else {"socket_keepalive": True}
    client = Redis.from_url(
        url,
        **over_tcp,
        decode_responses=True,
        # A value that is no UTF-8 is another's, or damaged: it is read as a text that no reader takes for its own.
        encoding_errors="replace",
        socket_timeout=timeout,
        socket_connect_timeout=min(connect_timeout, timeout),
        health_check_interval=HEALTH_CHECK_INTERVAL,
        max_connections=MAX_CONNECTIONS,
        # After a failover, the connection to the one that has been demoted is of no use any more.
        retry_on_error=[ReadOnlyError],
        retry=Retry(BACKOFF, retries=retries),
    )
    assert isinstance(client, Redis)  # the driver declares its own class
    if queue_timeout is not None:
        pool = client.connection_pool
        client.connection_pool = cast("Any", redis.BlockingConnectionPool)(
            FEW_CONNECTIONS, queue_timeout, pool.connection_class, **pool.connection_kwargs
        )
    return client


def new_async_pool(url: str, **options: Any) -> Any:
    """A pool of connections for an event loop to the server at this URL, or to the master behind Sentinel."""
    if is_sentinel(url):
        return sentinel.new_async_pool(RedisServer.parse(url), **options)
    return redis_asyncio.ConnectionPool.from_url(url, **options)


class ScriptCall(NamedTuple):
    """A script, and what it is to be run with."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | int]


class AsyncScripts:
    """Runs many scripts in one round trip, on an event loop, over one connection that it makes when it needs one."""

    def __init__(self, url: str, *, timeout: float = SOCKET_TIMEOUT, retries: int = 0) -> None:
        """`timeout`: seconds for each of 1 + `retries` tries, a connection included."""
        pool = new_async_pool(
            url,
            decode_responses=True,
            encoding_errors="replace",
            socket_timeout=None,  # one for a whole round trip costs less than one for each answer
            socket_connect_timeout=None,
            retry=AsyncRetry(BACKOFF, retries=0),
        )
        self._connection = pool.make_connection()
        self._timeout = timeout
        self._retry = AsyncRetry(BACKOFF, retries, (redis.exceptions.ConnectionError, ReadOnlyError))

    async def run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run them, in this order; for each what it returns, or the RedisUnavailable that concerns it alone.

        One may have run twice when its answer was lost. Raises RedisUnavailable.
        """
        with translate_errors():
            answers = await self._retry.call_with_retry(lambda: self._try(calls), _pass)
        return [_unavailable(answer) if isinstance(answer, RedisError) else answer for answer in answers]

    async def _try(self, calls: Sequence[ScriptCall]) -> list[Any]:
        running = asyncio.create_task(self._run_known(calls))
        try:
            for _ in range(LOOKS):
                done, _ = await asyncio.wait([running], timeout=self._timeout / LOOKS)
                if done:
                    return running.result()
            raise TimeoutError
        except BaseException as error:
            running.cancel()
            await self._connection.disconnect(
                nowait=True
            )  # what may still come would be the answer to something else
            if isinstance(error, (OSError, *MALFORMED)):
                raise redis.exceptions.ConnectionError(type(error).__name__) from error
            raise

    async def _run_known(self, calls: Sequence[ScriptCall]) -> list[Any]:
        answers = await self._send([("EVALSHA", call.script.sha, call) for call in calls])
        unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            told = await self._send([("EVAL", calls[number].script.script, calls[number]) for number in unknown])
            for number, answer in zip(unknown, told, strict=True):
                answers[number] = answer
        for answer in answers:
            if isinstance(answer, ReadOnlyError):  # after a failover, this connection is of no use any more
                raise answer
        return answers

    async def _send(self, calls: Sequence[tuple[str, Any, ScriptCall]]) -> list[Any]:
        commands = [(name, script, len(call.keys), *call.keys, *call.args) for name, script, call in calls]
        await self._connection.send_packed_command(self._connection.pack_commands(commands))
        return [await self._answer() for _ in commands]

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return error

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.disconnect()


async def _pass(_: Exception) -> None:
    """There is nothing left to do for a try that has failed."""


def _unavailable(error: RedisError) -> RedisUnavailable:
    unavailable = _translated(error)
    unavailable.__cause__ = error
    return unavailable
