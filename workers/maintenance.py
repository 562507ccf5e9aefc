"""Tasks on the queue `maintenance`, which beat sends on a schedule.

They are harmless when doubled. None is retried: its next period makes up for one that failed. None overlaps itself in
a process, so that one that takes long never takes all of its threads.
"""

import logging
from functools import partial
from time import monotonic

from celery_config import TaskNames
from core.operations.progress import Progress
from workers.app import runtime
from workers.schedule import reap
from workers.task import task

logger = logging.getLogger(__name__)

SWEEP_SHARE = 0.75
"""Of its period, that a sweep may take; the next one goes on."""
MAX_SWEEP = 60.0
"""Seconds that it may take: half of what the queue waits for a task before it has another worker do it."""
OTHERS_SHARE = 0.25
"""Of that time, which is kept for accounts, logins and the audit log, however many sessions have expired."""
MAX_LOGGED_IDS = 20
"""Ids logged for each broken invariant; `switchboard invariants` shows them too."""


@task(TaskNames.SWEEP_EXPIRED, idempotent_by=None, exclusive=True)
def sweep_expired() -> dict[str, float]:
    """Delete expired sessions with all that hangs on them, what is left of accounts that were given up, expired
    logins and old audit events; returns how many of each, and what is left of the sessions."""
    period = runtime.periods.sweep_every
    seconds = min(SWEEP_SHARE * period.total_seconds(), MAX_SWEEP)
    until = monotonic() + seconds
    counters = {
        "sessions": runtime.counters.swept_sessions,
        "accounts": runtime.counters.swept_accounts,
        "logins": runtime.counters.swept_logins,
        "audit_events": runtime.counters.swept_audit_events,
    }
    with Progress("the sweep", tuple(counters)) as progress:

        def add(kind: str, count: int) -> None:
            counters[kind].inc(count)
            progress.add(kind, count)

        runtime.sweeper.sweep_expired(until=until - OTHERS_SHARE * seconds, on_deleted=partial(add, "sessions"))
        runtime.sweeper.finish_deletions(until=until, on_deleted=partial(add, "accounts"))
        runtime.accounts.sweep_logins(until=until, on_deleted=partial(add, "logins"))
        runtime.audit.delete_old(runtime.audit_retention, until=until, on_deleted=partial(add, "audit_events"))
        left = runtime.sweeper.backlog()
    runtime.runs.note("sweep", period)
    if any(progress.done.values()) or left.count:
        logger.info(
            "swept %s; %d sessions are left, the oldest %d s late",
            str(progress),
            left.count,
            left.oldest.total_seconds(),
        )
    return {**progress.done, "backlog": left.count, "oldest_seconds": left.oldest.total_seconds()}


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
