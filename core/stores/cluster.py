"""Redis Cluster, which is refused: a session's keys share a slot, but those of limits and queues don't, and most
commands would fail."""

from contextlib import closing, suppress

from core.errors import Unavailable
from core.stores.redis import connect
from core.stores.redis_url import RedisServer, is_redis

TIMEOUT = 0.5
"""Seconds for the question. A server that is away is not waited for."""


def refuse_cluster(**urls: str | None) -> None:
    """Raise ValueError when one of these servers, by the names of their settings, is a node of a cluster."""
    for setting, url in urls.items():
        if url and is_redis(url) and _is_node(RedisServer.parse(url).redis_url):
            raise ValueError(
                f"{setting} names a node of a Redis Cluster, which is not supported: "
                "set it to one server (cluster-enabled no), or to Sentinel: sentinel://HOST:26379/MASTER"
            )


def _is_node(url: str) -> bool:
    with suppress(Unavailable), closing(connect(url, timeout=TIMEOUT)) as client:
        return bool(client.info("cluster").get("cluster_enabled"))
    return False
