"""What a worker does without being sent for: every chat worker looks for answers whose worker is gone, and for models
that rest.

Beat sends for the former, too, but beat is one process, and answers are not to depend on it. Of all workers, and
beat, one does it in each period.
"""

import logging
from threading import Thread
from typing import Any

from celery import signals

from celery_config import QueueNames
from core.errors import Unavailable
from workers.app import app, call_worker, runtime

logger = logging.getLogger(__name__)

PROBES = 1.0
"""Seconds between two looks at which models rest."""
PROBES_AFTER_A_FAULT = 60.0


def reap() -> int:
    """Hand on the generations whose worker is gone, or end them; returns how many. Nothing, when another process has
    just done it. Raises Unavailable."""
    period = runtime.settings.reap_every
    if not runtime.runs.take_turn("reaper", period):
        return 0
    reaped = runtime.reaper.reap()
    for generation_id in reaped.handed_on:
        call_worker(generation_id)
    for generation_id in reaped.waiting:
        call_worker(generation_id, expires=period.total_seconds())
    if reaped.handed_on or reaped.ended:
        logger.warning("lost workers: %d answers handed on, %d ended", len(reaped.handed_on), reaped.ended)
    runtime.runs.note("reaper", period)
    return len(reaped.handed_on) + reaped.ended + reaped.told


@signals.worker_ready.connect
def begin(**_: Any) -> None:
    """Begin to look, where answers are written; and count from now what beat has to send for, where that is done."""
    consumed = set(app.amqp.queues.consume_from or {})
    if QueueNames.CHAT in consumed:
        Thread(target=_keep_reaping, name="reaper", daemon=True).start()
        # A thread of its own: what is done about models must not delay anything for answers.
        Thread(target=_keep_probing, name="prober", daemon=True).start()
    if QueueNames.MAINTENANCE in consumed:
        try:
            runtime.runs.expect("sweep", runtime.settings.sweep_every)
            runtime.runs.expect("beat", runtime.settings.reap_every)
        except Unavailable as error:
            logger.warning("the schedule's beginning could not be noted: %s", type(error.cause).__name__)


def _keep_reaping() -> None:
    while True:
        try:
            reap()
        except Unavailable as error:
            logger.warning("a store is away; lost answers are looked for later: %s", type(error.cause).__name__)
        except Exception:
            logger.exception("the reaper failed and goes on")
        if runtime.writer.stopping.wait(runtime.settings.reap_every.total_seconds()):
            return


def _keep_probing() -> None:
    wait = PROBES
    while not runtime.writer.stopping.wait(wait):
        wait = PROBES
        try:
            runtime.prober.tick()
        except Unavailable:
            pass  # the reaper says so already, less often
        except Exception:
            logger.exception("models that rest could not be looked after")
            wait = PROBES_AFTER_A_FAULT
