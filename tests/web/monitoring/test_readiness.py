"""/readyz, while a part of the system hangs: it is named, within half a second."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from threading import Event as Flag
from typing import Any

import pytest

from celery_config import QueueNames
from core.messaging.consumers import HEARTBEAT_TTL, Presence
from core.operations.installation import PRESENT_KEY
from core.operations.job_runs import JOBS, JobRuns
from core.runtime import Runtime
from core.settings import Settings
from core.stores.redis import Redis
from tests.support.cable import Cable
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey
from web.app import DATABASE_TIMEOUT, REDIS_TIMEOUT, create_app

ANSWERED = 0.5
"""Seconds."""


@pytest.fixture
def served(redis: Redis, runtime: Runtime) -> Presence:
    """Every queue has a worker, and every job has just run."""
    presence = Presence(redis)
    presence.announce(QueueNames.ALL, "worker-1@a")
    for job in JOBS:
        JobRuns(redis).note(job, runtime.periods.sweep_every)
    return presence


@pytest.fixture
def parts(settings: Settings) -> Iterator[Callable[..., Any]]:
    """Makes web processes that differ from the usual one in an option."""
    with ExitStack() as stack:

        def make(**changed: str) -> Any:
            other = settings.model_copy(update=changed)
            runtime = Runtime(other, redis_retries=0, redis_timeout=REDIS_TIMEOUT, database_patience=DATABASE_TIMEOUT)
            return create_app(stack.enter_context(closing(runtime))).test_client()

        yield make


def _missing(client: Any) -> list[str]:
    """What an answer names, which has to come in time whenever it is asked for."""
    for _ in range(2):
        began = time.monotonic()
        answer = client.get("/readyz")
        assert time.monotonic() - began < ANSWERED
    return list(answer.get_json(force=True).get("missing", []))


@pytest.mark.timing
def test_a_silent_database_is_named(
    served: Presence, parts: Callable[..., Any], postgres: Postgres, postgres_url: str
) -> None:
    with closing(Cable(postgres)) as cable:
        client = parts(configured_database_url=cable.url(postgres_url))
        assert _missing(client) == []
        cable.cut()
        assert _missing(client) == ["database"]


@pytest.mark.timing
def test_a_frozen_redis_is_named(parts: Callable[..., Any], valkey: Valkey, own_valkey: Valkey) -> None:
    client = parts(configured_redis_url=own_valkey.url, configured_broker_url=valkey.url)
    own_valkey.freeze()
    assert _missing(client) == ["redis"]


def test_a_redis_and_a_broker_that_are_full_are_named_until_they_are_not(
    parts: Callable[..., Any], own_valkey: Valkey
) -> None:
    client = parts(configured_redis_url=own_valkey.url)

    def missing() -> list[str]:
        return list(client.get("/readyz").get_json(force=True).get("missing", []))

    assert "redis, which takes no writes" not in missing()
    own_valkey.fill()
    assert missing() == ["redis, which takes no writes", "broker"]
    own_valkey.empty()
    assert not {"redis, which takes no writes", "broker"} & set(missing())


@pytest.mark.timing
def test_a_frozen_broker_is_named(served: Presence, parts: Callable[..., Any], own_valkey: Valkey) -> None:
    client = parts(configured_broker_url=own_valkey.url)
    assert _missing(client) == []
    own_valkey.freeze()
    assert _missing(client) == ["broker"]


@pytest.mark.timing
def test_a_silent_amqp_broker_is_named(served: Presence, parts: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//"
        assert _missing(parts(configured_broker_url=address)) == ["broker"]


@pytest.mark.timing
def test_names_that_nobody_resolves_are_waited_for_no_longer(
    parts: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = Flag()

    def never(*_: Any, **__: Any) -> Any:
        resolved.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    client = parts(configured_redis_url="redis://cache.example", configured_broker_url="amqp://queue.example")
    assert _missing(client) == ["redis", "broker"]
    resolved.set()


def test_a_redis_that_another_installation_uses_is_named(
    served: Presence, parts: Callable[..., Any], runtime: Runtime, redis: Redis
) -> None:
    runtime.installations.announce()
    assert parts().get("/readyz").status_code == 200
    (now, _) = redis.time()
    redis.zadd(PRESENT_KEY, {"another": int(now) + 10})
    missing = parts().get("/readyz").get_json(force=True)["missing"]
    assert missing == ["a redis of its own: another installation uses it"]


def test_a_worker_that_stops_takes_no_other_away(served: Presence, parts: Callable[..., Any], redis: Redis) -> None:
    served.announce([QueueNames.CHAT], "chat-2@a")
    assert served.counts(QueueNames.ALL) == {"sessions": 1, "chat": 2, "maintenance": 1}
    client = parts()
    served.withdraw([QueueNames.CHAT], "chat-2@a")
    assert client.get("/readyz").status_code == 200
    # One that was killed has withdrawn nothing: its last heartbeat runs out, by Redis's clock.
    (now, _) = redis.time()
    redis.zadd("sb:consumer:{queues}:chat", {"worker-1@a": int(now) - 1})
    assert client.get("/readyz").get_json(force=True)["missing"] == ["consumer of chat"]
    assert redis.ttl("sb:consumer:{queues}:chat") <= 2 * HEARTBEAT_TTL


def test_what_beat_has_not_sent_for_is_named(served: Presence, parts: Callable[..., Any], redis: Redis) -> None:
    redis.delete("sb:ran:beat")
    assert parts().get("/readyz").get_json(force=True)["missing"] == ["beat, which has not run lately"]
