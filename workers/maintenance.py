"""Tasks on the queue `maintenance`, which beat sends on a schedule.

They are harmless when doubled. None is retried: its next period makes up for one that failed. None overlaps itself in
a process, so that one that takes long never takes all of its threads.
"""

from celery.utils.log import get_task_logger

from celery_config import TaskNames
from workers.app import runtime
from workers.schedule import reap
from workers.task import task

logger = get_task_logger(__name__)

MAX_LOGGED_IDS = 20
"""Ids logged for each broken invariant; `switchboard invariants` shows them too."""


@task(TaskNames.SWEEP_EXPIRED, idempotent_by=None, exclusive=True)
def sweep_expired() -> int:
    """Delete expired sessions with all that hangs on them, expired logins, and what is left of accounts that were
    given up; returns how many sessions."""
    swept = runtime.sweeper.sweep_expired()
    runtime.sweeper.finish_deletions()
    runtime.accounts.sweep_logins()
    runtime.counters.swept_sessions.inc(swept)
    runtime.runs.note("sweep", runtime.periods.sweep_every)
    if swept:
        logger.info("swept %d expired sessions", swept)
    return swept


@task(TaskNames.REAP_GENERATIONS, idempotent_by=None, exclusive=True)
def reap_generations() -> int:
    """Do what every chat worker does now and then (workers/schedule.py). Only beat sends for it."""
    runtime.runs.note("beat", runtime.periods.reap_every)
    return reap()


# Acknowledged when taken: it may take longer than the queue waits, and one that is lost is made up for.
@task(TaskNames.CHECK_INVARIANTS, idempotent_by=None, exclusive=True, acks_late=False)
def check_invariants() -> int:
    """Look for what must never be, heal what can be healed, and keep what was found for /metrics; returns how many
    invariants are broken."""
    findings = runtime.invariants.check()
    healed = runtime.healing.heal(findings)
    runtime.check_results.save(findings, healed)
    broken = [finding for finding in findings if finding.ids]
    for finding in broken:
        shown = ", ".join(finding.ids[:MAX_LOGGED_IDS])
        logger.warning("broken by %d: %s (%s): %s", len(finding.ids), finding.meaning, finding.name, shown)
    for name, count in healed.items():
        logger.warning("healed %d of %s", count, name)
    return len(broken)
