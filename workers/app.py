"""The Celery application, and what a worker process does when it starts, lives and stops."""

import gc
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from celery import Celery, signals
from celery.worker import state

from broker.connection import AMQP
from celery_config import QueueNames
from core.errors import Unavailable
from core.llm.catalog import require_catalog
from core.observability.tracing import stop_tracing
from core.operations.file_descriptors import raise_limit
from core.operations.preflight.environment import settings_of_process
from core.operations.preflight.stores import require_stores, store_checks
from core.runtime import Runtime
from workers.brokers import broker_checks

logger = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that only reckons gives way to one that waits; Python's own are 0.005."""

_settings = settings_of_process()
# A chat worker has hundreds of threads, which want a store at the beginning and the end of an answer only.
runtime = Runtime(_settings, pool_size=_settings.database_pool_worker, redis_retries=6, queue_timeout=30.0)

app = Celery("switchboard", amqp=AMQP)
app.config_from_object("celery_config")
app.conf.imports = (
    "workers.logs",
    "workers.sessions",
    "workers.chat",
    "workers.maintenance",
    "workers.schedule",
    "workers.undelivered",
)


@signals.celeryd_init.connect
def name_node(instance: Any, **_: Any) -> None:
    """Have the process's id in its node's name: several that one line of the Procfile has started would share one
    mailbox, and Flower would show one of them."""
    name, _, host = instance.hostname.partition("@")
    instance.hostname = f"{name}-{os.getpid()}@{host}"


@signals.celeryd_init.connect
def require_parts(**_: Any) -> None:
    """Say in one line what can't be used, before the worker starts."""
    require_catalog(_settings.models_path)
    stores = store_checks(
        redis_url=_settings.redis_url,
        broker_url=_settings.broker_url,
        database_url=_settings.database_url,
        migrated=True,
    )
    require_stores({**stores, **broker_checks(_settings.broker_variable, _settings.broker_url)})


@signals.heartbeat_sent.connect
def announce_queues(sender: Any, **_: Any) -> None:
    """Note for /readyz, with every heartbeat, which queues this worker consumes. Celery sends one also at the end."""
    if state.should_stop is not None or state.should_terminate is not None:
        return
    try:
        runtime.presence.announce(_queues(), sender.eventer.hostname)
    except Unavailable as error:
        logger.warning("this worker's heartbeat could not be told: %s", error.reason)


@signals.worker_shutdown.connect
def send_last_spans(**_: Any) -> None:
    """Send what has not been sent of the traces."""
    stop_tracing()


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
def start_counting(**_: Any) -> None:
    """Tell for /metrics what this worker counts."""
    runtime.start_counting("worker")


@signals.worker_shutdown.connect
def stop_counting(**_: Any) -> None:
    """Tell the rest of it."""
    runtime.counters.stop()


@signals.celeryd_after_setup.connect
def take_turns(**_: Any) -> None:
    """Let no task keep the interpreter from the others for long, where a sweep and commands share it: a command needs
    it ten times or so, and would wait for its turn each time."""
    if QueueNames.MAINTENANCE in _queues():
        sys.setswitchinterval(SWITCH_INTERVAL)


@signals.celeryd_after_setup.connect
def warm_models(**_: Any) -> None:
    """Make the models' clients before the first question comes, where questions are answered."""
    if QueueNames.CHAT in _queues():
        runtime.models.warm()


@signals.worker_ready.connect
def spare_collections(**_: Any) -> None:
    """Have the garbage collector leave alone what has been imported, and look less often: answers leave next to
    nothing for it."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@signals.worker_ready.connect
def stop_by_hup(**_: Any) -> None:
    """Stop by SIGHUP as by SIGTERM, for a process manager to start it again. Celery would start itself anew, after
    it had waited for the ends of its answers and lost a SIGTERM meanwhile."""
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))


@signals.worker_shutting_down.connect
def stop_generations(how: str, **_: Any) -> None:
    """Hand on the answers being written, between two tokens."""
    runtime.writer.stopping.set()
    logger.info("told to stop: %s", how)
