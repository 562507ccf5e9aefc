"""What has to turn in a worker for it to live: Celery's consumer, the threads that run tasks, and, where answers are
written, their event loop."""

import logging
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.worker import state

from celery_config import STATE_DIRECTORY, QueueNames
from core.operations.liveness import Liveness
from workers.app import app, runtime

logger = logging.getLogger(__name__)

CONSUMER, THREADS, EVENT_LOOP = "consumer", "thread pool", "event loop"
STORES_LIMIT = 60.0
"""Seconds for the consumer, which waits for stores that are away, each time with a deadline."""
TASKS_LIMIT = 120.0
"""Seconds until one of the threads is free: all may wait for stores at the same time, and again."""
EVENT_LOOP_LIMIT = 30.0
"""Seconds. Nothing on it waits for anything."""

liveness = Liveness()


@signals.heartbeat_sent.connect
def note_turn(**_: Any) -> None:
    """The consumer turns."""
    liveness.turned(CONSUMER)


@signals.celeryd_after_setup.connect
def start(instance: Any, **_: Any) -> None:
    """Begin to tell `switchboard alive` of this worker."""
    chat = QueueNames.CHAT in (app.amqp.queues.consume_from or {})
    liveness.expect(CONSUMER, STORES_LIMIT)
    liveness.expect(THREADS, TASKS_LIMIT, lambda turned: _ask_threads(instance.pool, chat, turned))
    if chat:
        liveness.expect(EVENT_LOOP, EVENT_LOOP_LIMIT, _ask_event_loop)
    liveness.start("chat" if chat else "worker", STATE_DIRECTORY)


def _ask_threads(pool: Any, chat: bool, turned: Callable[[], None]) -> None:
    executor = getattr(pool, "executor", None)  # None before it has started, and in pools of other kinds
    # Threads that all write answers may take as long as those take: their event loop says that they go on.
    if executor is None or (chat and len(state.active_requests) >= pool.limit):
        turned()
    else:
        executor.submit(turned)


def _ask_event_loop(turned: Callable[[], None]) -> None:
    async def turn() -> None:
        turned()

    runtime.event_loop.submit(turn())
