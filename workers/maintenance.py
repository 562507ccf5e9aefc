"""Tasks on the queue `maintenance`: what beat sends on a schedule. Harmless when doubled."""

from celery.utils.log import get_task_logger

from celery_config import TaskNames
from workers.app import app, runtime

logger = get_task_logger(__name__)

SHOWN = 20
"""Ids logged for each broken invariant; `switchboard invariants` shows them too."""


@app.task(name=TaskNames.SWEEP_EXPIRED)
def sweep_expired() -> int:
    """Delete expired sessions with all that hangs on them, and expired logins; returns how many sessions."""
    swept = runtime.sweeper.sweep_expired()
    with runtime.database.writing() as db:
        runtime.logins.sweep_expired(db)
    if swept:
        logger.info("swept %d expired sessions", swept)
    return swept


@app.task(name=TaskNames.REAP_GENERATIONS)
def reap_generations() -> int:
    """Hand on the generations whose worker is gone, or end them; returns how many."""
    reaped = runtime.reaper.reap()
    for generation_id in reaped.handed_on:
        app.send_task(TaskNames.GENERATE, [str(generation_id)])
    for generation_id in reaped.waiting:
        app.send_task(TaskNames.GENERATE, [str(generation_id)], expires=runtime.settings.reap_every.total_seconds())
    if reaped.handed_on or reaped.ended:
        logger.warning("lost workers: %d answers handed on, %d ended", len(reaped.handed_on), reaped.ended)
    return len(reaped.handed_on) + reaped.ended + reaped.told


@app.task(name=TaskNames.CHECK_INVARIANTS, acks_late=False)  # it may take long, and one that is lost is made up for
def check_invariants() -> int:
    """Look for what must never be, and keep what was found for /metrics; returns how many invariants are broken."""
    findings = runtime.invariants.check()
    runtime.last_check.keep(findings)
    broken = [finding for finding in findings if finding.ids]
    for finding in broken:
        shown = ", ".join(finding.ids[:SHOWN])
        logger.warning("broken by %d: %s (%s): %s", len(finding.ids), finding.meaning, finding.name, shown)
    return len(broken)
