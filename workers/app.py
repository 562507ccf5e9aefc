"""The Celery application, and what a worker process does when it starts, lives and stops."""

import logging
from contextlib import suppress
from typing import Any

from celery import Celery, signals

from celery_config import QueueNames
from core.errors import Unavailable
from core.operations.file_descriptors import raise_limit
from core.runtime import Runtime
from core.settings import Settings
from core.stores.cluster import refuse_cluster

logger = logging.getLogger(__name__)

# A chat worker has hundreds of threads, which want a store at the beginning and the end of an answer only.
_settings = Settings()
runtime = Runtime(_settings, pool_size=_settings.database_pool_worker, redis_retries=6, queue_timeout=30.0)

app = Celery("switchboard")
app.config_from_object("celery_config")
app.conf.imports = (
    "workers.logs",
    "workers.sessions",
    "workers.chat",
    "workers.maintenance",
    "workers.schedule",
    "workers.undelivered",
)


@signals.heartbeat_sent.connect
def announce_queues(sender: Any, **_: Any) -> None:
    """Note for /readyz, with every heartbeat, which queues this worker consumes."""
    try:
        runtime.presence.announce(_queues(), sender.eventer.hostname)
    except Unavailable as error:
        logger.warning("this worker's heartbeat could not be told: %s", type(error.cause).__name__)


@signals.worker_shutdown.connect
def withdraw_queues(sender: Any, **_: Any) -> None:
    """Note for /readyz that this worker consumes no more."""
    with suppress(Unavailable):  # then its heartbeat runs out
        runtime.presence.withdraw(_queues(), sender.hostname)


def _queues() -> set[str]:
    return set(app.amqp.queues.consume_from or {}) & set(QueueNames.ALL)


@signals.celeryd_after_setup.connect
def raise_descriptors(**_: Any) -> None:
    """Let the worker hold as many connections as the system allows, also without `switchboard up` before it."""
    raise_limit()


@signals.celeryd_after_setup.connect
def refuse_clusters(**_: Any) -> None:
    """Refuse what would fail with most commands."""
    try:
        refuse_cluster(REDIS_URL=_settings.redis_url, BROKER_URL=_settings.configured_broker_url)
    except ValueError as error:
        raise SystemExit(f"switchboard: {error}") from None


@signals.celeryd_after_setup.connect
def warm_models(**_: Any) -> None:
    """Make the models' clients before the first question comes, where questions are answered."""
    if QueueNames.CHAT in _queues():
        runtime.models.warm()


@signals.worker_shutting_down.connect
def stop_generations(**_: Any) -> None:
    """Hand on the answers being written, between two tokens."""
    runtime.writer.stopping.set()
