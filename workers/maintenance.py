"""Tasks on the queue `maintenance`: what beat sends on a schedule. Harmless when doubled."""

from celery.utils.log import get_task_logger

from celery_config import TaskNames
from workers.app import app, runtime
from workers.schedule import reap

logger = get_task_logger(__name__)

SHOWN = 20
"""Ids logged for each broken invariant; `switchboard invariants` shows them too."""


@app.task(name=TaskNames.SWEEP_EXPIRED)
def sweep_expired() -> int:
    """Delete expired sessions with all that hangs on them, expired logins, and what is left of accounts that were
    given up; returns how many sessions."""
    swept = runtime.sweeper.sweep_expired()
    runtime.sweeper.finish_deletions()
    with runtime.database.writing() as db:
        runtime.logins.sweep_expired(db)
    runtime.runs.note("sweep", runtime.settings.sweep_every)
    if swept:
        logger.info("swept %d expired sessions", swept)
    return swept


@app.task(name=TaskNames.REAP_GENERATIONS)
def reap_generations() -> int:
    """Do what every chat worker does now and then (workers/schedule.py). Only beat sends for it."""
    runtime.runs.note("beat", runtime.settings.reap_every)
    return reap()


@app.task(name=TaskNames.CHECK_INVARIANTS, acks_late=False)  # it may take long, and one that is lost is made up for
def check_invariants() -> int:
    """Look for what must never be, heal what can be healed, and keep what was found for /metrics; returns how many
    invariants are broken."""
    findings = runtime.invariants.check()
    healed = runtime.healing.heal(findings)
    runtime.check_results.save(findings, healed)
    broken = [finding for finding in findings if finding.ids]
    for finding in broken:
        shown = ", ".join(finding.ids[:SHOWN])
        logger.warning("broken by %d: %s (%s): %s", len(finding.ids), finding.meaning, finding.name, shown)
    for name, count in healed.items():
        logger.warning("healed %d of %s", count, name)
    return len(broken)
