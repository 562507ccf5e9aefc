"""What a worker does without a message: every chat worker runs the reaper, and probes models that rest.

Beat sends for the reaper, too, but beat is one process, and answers are not to depend on it. Of all workers one runs
it in each period.
"""

import logging
import time
from contextlib import suppress
from threading import Thread
from typing import Any

from celery import signals

from celery_config import QueueNames
from core.errors import Unavailable
from core.operations.installation import ANNOUNCE_INTERVAL
from workers.app import app, runtime
from workers.wakeups import wake_workers

logger = logging.getLogger(__name__)

SHARED_LOG_INTERVAL = 60.0
"""Seconds between two lines about another installation."""
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
    Thread(target=_announce_forever, name="installation", daemon=True).start()
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


@signals.worker_shutdown.connect
def withdraw_installation(**_: Any) -> None:
    """Make room for another installation, unless others of this one's workers go on."""
    with suppress(Unavailable):
        runtime.installations.withdraw()


def _announce_forever() -> None:
    told_at = -SHARED_LOG_INTERVAL
    while True:
        try:
            runtime.installations.announce()
            if runtime.installations.are_several() and time.monotonic() >= told_at + SHARED_LOG_INTERVAL:
                told_at = time.monotonic()
                logger.error(
                    "another installation uses the Redis of REDIS_URL: each takes what is the other's, and nothing is"
                    " healed; give each a database of its own, as redis://host/1"
                )
        except Unavailable:
            pass  # the heartbeat says so already
        except Exception:
            logger.exception("whether another installation uses this Redis could not be seen")
        if runtime.writer.stopping.wait(ANNOUNCE_INTERVAL):
            return


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
