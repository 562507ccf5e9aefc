"""beat, while its broker is away."""

import pytest
from celery import Celery
from redis import Redis

from celery_config import QueueNames, TaskNames, beat_schedule, beat_scheduler
from tests.support.valkey import Valkey
from workers.app import app as workers_app
from workers.beat import Scheduler


def test_what_can_not_be_sent_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert beat_scheduler == f"{Scheduler.__module__}:{Scheduler.__name__}"
    app = Celery("tests", set_as_current=False)
    app.config_from_object("celery_config")
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    scheduler = Scheduler(app)
    (entry,) = (each for each in scheduler.schedule.values() if each.task == TaskNames.REAP_GENERATIONS)

    scheduler.apply_entry(entry)

    (record,) = (each for each in caplog.records if each.name == "workers.beat")
    assert record.getMessage().startswith(f"{TaskNames.REAP_GENERATIONS} could not be sent: ")
    assert record.exc_info is None


def test_a_broker_that_is_full_is_named_in_one_line(own_valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    app = Celery("tests", set_as_current=False)
    app.config_from_object("celery_config")
    app.conf.broker_url = own_valkey.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    scheduler = Scheduler(app)
    own_valkey.fill()

    scheduler.apply_entry(next(iter(scheduler.schedule.values())))

    (record,) = (each for each in caplog.records if each.name == "workers.beat")
    assert record.getMessage().endswith(": it is out of memory, and takes no writes")
    scheduler.close()


def test_nothing_is_sent_while_no_worker_takes_what_was_sent_before(valkey: Valkey, redis: Redis) -> None:
    app = Celery("tests", set_as_current=False)
    app.config_from_object("celery_config")
    app.conf.broker_url = valkey.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    scheduler = Scheduler(app)
    entries = list(scheduler.schedule.values())

    for _ in range(20):
        for entry in entries:
            scheduler.apply_entry(entry)

    assert redis.llen(QueueNames.MAINTENANCE) == len(entries)
    scheduler.close()
    redis.flushall()


def test_what_beat_sends_is_a_task_of_the_workers() -> None:
    workers_app.loader.import_default_modules()
    assert {entry["task"] for entry in beat_schedule.values()} <= set(workers_app.tasks)
    queues = {workers_app.amqp.router.route({}, str(entry["task"]))["queue"].name for entry in beat_schedule.values()}
    assert queues == {QueueNames.MAINTENANCE}
