"""What keeps a Redis from being used: a server that is away, another one, or one that wants to be asked otherwise."""

from collections.abc import Collection
from contextlib import closing

from core.operations.preflight.mistake import Mistake, with_value
from core.operations.preflight.redis_causes import TIMEOUT, cause_of
from core.operations.preflight.sentinels import cause_behind
from core.stores.redis import Redis, RedisUnavailable, connect
from core.stores.redis_url import RedisServer
from core.stores.writable import ABSENT_KEY, require_writable
from core.text.characters import one_line
from core.text.masking import without_secrets

SHORTEST_WAIT = 0.01
"""Seconds; 0 would be for ever."""
CLUSTER = (
    "it is a node of a Redis Cluster, which is not supported",
    "name one server (cluster-enabled no), or Sentinel: sentinel://HOST:26379/MASTER",
)
SENTINEL = (
    "it is a sentinel, which keeps nothing",
    "name the sentinels and their master: sentinel://HOST:26379/MASTER",
)


def redis_mistake(variable: str, url: str) -> Mistake | None:
    """What keeps the Redis at `url`, which the variable names, from being used or its data from being kept, or None.
    Takes some four seconds."""
    try:
        with closing(connect(url, timeout=TIMEOUT, connect_timeout=TIMEOUT)) as client:
            if "sentinel" in _modes(client):
                return Mistake(with_value(variable, url), *SENTINEL)
            client.eval("return 1", 0)
            if client.info("cluster").get("cluster_enabled"):  # a session's keys share a slot, those of limits don't
                wrong, right = CLUSTER
                return Mistake(with_value(variable, url), wrong, right)
            require_writable(client)
            _try_waiting(client)
            return _evicting(client.info("memory").get("maxmemory_policy"), with_value(variable, url))
    except RedisUnavailable as error:
        server = RedisServer.parse(url)
        cause = cause_behind(server, error.cause) if server.sentinels else cause_of(server, error.cause)
    wrong = one_line(without_secrets(cause.wrong, url))
    return Mistake(with_value(variable, url), wrong, cause.right, cause.passing)


def _try_waiting(client: Redis) -> None:
    """Publish, listen and wait for a message as processes do: each has permissions of its own. Raises
    RedisUnavailable."""
    client.publish(ABSENT_KEY, "")
    with closing(client.pubsub()) as listener:
        for listen in (listener.subscribe, listener.psubscribe):
            listen(ABSENT_KEY)
            listener.get_message(timeout=TIMEOUT)
    client.brpop([ABSENT_KEY], timeout=SHORTEST_WAIT)


def _modes(client: Redis) -> Collection[object]:
    """What the server says that it is, in the words of Redis and of Valkey."""
    info = client.info("server")
    return [info.get("redis_mode"), info.get("server_mode")]


def _evicting(policy: str | None, setting: str) -> Mistake | None:
    if policy in (None, "noeviction"):
        return None
    wrong = f"its maxmemory-policy is {policy}: queues and conversations vanish when it is full"
    return Mistake(setting, wrong, "set it: CONFIG SET maxmemory-policy noeviction", harmless=True)
