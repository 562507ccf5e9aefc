"""Tasks on the queue `maintenance`: what beat sends on a schedule. Harmless when doubled."""

from celery.utils.log import get_task_logger

from celery_config import TaskNames
from workers.app import app, runtime

logger = get_task_logger(__name__)


@app.task(name=TaskNames.SWEEP_EXPIRED)
def sweep_expired() -> int:
    """Delete expired sessions with all that hangs on them; returns how many."""
    swept = runtime.sweeper.sweep_expired()
    if swept:
        logger.info("swept %d expired sessions", swept)
    return swept


@app.task(name=TaskNames.REAP_GENERATIONS)
def reap_generations() -> int:
    """End the generations whose worker is gone; returns how many."""
    reaped = runtime.generations.reap()
    if reaped:
        logger.warning("%d generations had lost their worker", reaped)
    return reaped
