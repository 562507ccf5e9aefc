"""Wake-ups of chat workers, while none of them takes any."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from celery import Celery

from celery_config import QueueNames
from core.stores.redis import Redis
from tests.support.valkey import Valkey
from workers import wakeups


@pytest.fixture
def redis(own_valkey: Valkey) -> Iterator[Redis]:
    """The broker: one of the test's own, from which no worker of another test takes anything."""
    client = own_valkey.client()
    yield client
    client.close()


@pytest.fixture
def app(own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Celery:
    """The workers' application, over that broker."""
    app = Celery("tests", set_as_current=False)
    app.config_from_object("celery_config")
    app.conf.broker_url = own_valkey.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    monkeypatch.setattr(wakeups, "app", app)
    return app


@pytest.mark.one_database
def test_as_many_are_sent_as_wait(app: Celery, redis: Redis) -> None:
    wakeups.wake_workers([uuid4() for _ in range(5)], expires=60)
    assert redis.llen(QueueNames.CHAT) == 5


@pytest.mark.one_database
def test_they_do_not_pile_up_while_all_workers_are_busy(app: Celery, redis: Redis) -> None:
    for waiting in (3, 5, 5, 5, 2):
        wakeups.wake_workers([uuid4() for _ in range(waiting)], expires=60)
    assert redis.llen(QueueNames.CHAT) == 5


@pytest.mark.one_database
def test_without_a_broker_one_is_tried(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    wakeups.wake_workers([uuid4() for _ in range(5)], expires=60)
    assert len([each for each in caplog.records if "could be called" in each.getMessage()]) == 1
