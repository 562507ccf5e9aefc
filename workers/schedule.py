"""What a worker does without a message: every chat worker runs the reaper, and probes models that rest.

Beat sends for the reaper, too, but beat is one process, and answers are not to depend on it. Of all workers one runs
it in each period.
"""

import logging
from threading import Thread
from typing import Any

from celery import signals

from celery_config import QueueNames
from core.errors import Unavailable
from workers.app import app, runtime
from workers.wakeups import wake_workers

logger = logging.getLogger(__name__)

PROBE_INTERVAL = 1.0
"""Seconds between two runs of the prober."""
PROBE_INTERVAL_AFTER_FAILURE = 60.0
"""Seconds after a run that failed unexpectedly."""


def reap() -> int:
    """Hand on the generations whose worker is gone, or end them; returns how many.

    Does nothing when another process has done so in this period. Raises Unavailable.
    """
    period = runtime.periods.reap_every
    if not runtime.runs.take_turn("reaper", period):
        return 0
    reaped = runtime.reaper.reap()
    wake_workers([*reaped.handed_off, *reaped.promoted, *reaped.waiting], expires=period.total_seconds())
    if reaped.handed_off or reaped.ended:
        logger.warning("lost workers: %d answers handed off, %d ended", len(reaped.handed_off), reaped.ended)
    runtime.runs.note("reaper", period)
    return len(reaped.handed_off) + reaped.ended + reaped.published


@signals.worker_ready.connect
def start_background_jobs(**_: Any) -> None:
    """Start the reaper and the prober where answers are written, and expect beat's tasks where they are run."""
    consumed = set(app.amqp.queues.consume_from or {})
    if QueueNames.CHAT in consumed:
        Thread(target=_reap_forever, name="reaper", daemon=True).start()
        # A thread of its own: what is done about models must not delay anything for answers.
        Thread(target=_probe_forever, name="prober", daemon=True).start()
    if QueueNames.MAINTENANCE in consumed:
        try:
            runtime.runs.expect("sweep", runtime.periods.sweep_every)
            runtime.runs.expect("beat", runtime.periods.reap_every)
        except Unavailable as error:
            logger.warning("the schedule's beginning could not be noted: %s", error.reason)


def _reap_forever() -> None:
    while True:
        try:
            reap()
        except Unavailable as error:
            logger.warning("a store is away; lost answers are looked for later: %s", error.reason)
        except Exception:
            logger.exception("the reaper failed and goes on")
        if runtime.writer.stopping.wait(runtime.periods.reap_every.total_seconds()):
            return


def _probe_forever() -> None:
    wait = PROBE_INTERVAL
    while not runtime.writer.stopping.wait(wait):
        wait = PROBE_INTERVAL
        try:
            runtime.prober.tick()
        except Unavailable:
            pass  # the reaper says so already, less often
        except Exception:
            logger.exception("models that rest could not be looked after")
            wait = PROBE_INTERVAL_AFTER_FAILURE
