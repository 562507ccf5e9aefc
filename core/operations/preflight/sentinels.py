"""What keeps a master behind Sentinel from being used: the sentinels themselves, what they say, or the master."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

from core.operations.preflight.redis_causes import CREDENTIALS, LOOK_TIMEOUT, Cause, cause_of
from core.stores.redis import RedisUnavailable, connect, translate_errors
from core.stores.redis_url import SENTINEL_PORT, RedisServer
from core.stores.sentinel import Master


def cause_behind(server: RedisServer, error: BaseException) -> Cause:
    """Why the group can't be used, whose client has met the error."""
    try:
        with translate_errors():
            host, port = Master(server).address()
    except RedisUnavailable:
        return _worst(_asked(server))
    cause = cause_of(replace(server, host=host, port=port, sentinels=()), error)
    return _at(f"the master at {host}:{port}", cause)


def _asked(server: RedisServer) -> Sequence[Cause]:
    """What keeps each of the sentinels from naming a master; they are asked at once, since each may be silent."""
    with ThreadPoolExecutor(len(server.sentinels)) as threads:
        return list(threads.map(lambda address: _of_sentinel(server, *address), server.sentinels))


def _of_sentinel(server: RedisServer, host: str, port: int) -> Cause:
    asked = RedisServer(
        host=host,
        port=port,
        username=server.sentinel_username,
        password=server.sentinel_password,
        tls=server.tls,
    )
    try:
        with closing(connect(asked.redis_url, timeout=LOOK_TIMEOUT, connect_timeout=LOOK_TIMEOUT)) as client:
            masters = client.sentinel_masters()
    except RedisUnavailable as error:
        cause = cause_of(asked, error.cause)
        if "unknown command" in cause.wrong:
            cause = Cause("it is no sentinel", f"name the sentinels, whose port is usually {SENTINEL_PORT}")
        elif cause.right == CREDENTIALS:
            cause = cause._replace(right="correct sentinel_username and sentinel_password: they are not the master's")
    else:
        known = sorted(map(str, masters))
        if server.master in known:
            cause = Cause(
                f"the master {server.master} is taken for dead",
                "wait until another has taken its place, or start it",
                passing=True,
            )
        else:
            right = f"name one that it knows: {', '.join(known) or 'none'}"
            cause = Cause(f"it knows no master {server.master}", right)
    return _at(f"the sentinel {host}:{port}", cause)


def _at(where: str, cause: Cause) -> Cause:
    """It, said of one of several servers, and in the words of their URL."""
    right = cause.right.replace("rediss://", "sentinels://").replace("redis://", "sentinel://")
    return cause._replace(wrong=f"{where}: {cause.wrong}", right=right)


def _worst(causes: Sequence[Cause]) -> Cause:
    """One that does not pass by itself, or the first."""
    return next((cause for cause in causes if not cause.passing), causes[0])
