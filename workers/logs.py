"""The logs of the processes that Celery starts, in the place of Celery's own."""

from typing import Any

from celery import signals
from celery.app import trace
from celery.apps import worker

from core.observability.logs import is_configured
from workers.observability import configure, start_traces

# The words of an error may quote people: what is left is its class and place.
_CLASS_ONLY = "Task %(name)s[%(id)s] %(description)s"
trace.log_policy_unexpected = trace.log_policy_unexpected._replace(format=_CLASS_ONLY)
trace.log_policy_internal = trace.log_policy_internal._replace(format=_CLASS_ONLY)
trace.log_policy_expected = trace.log_policy_expected._replace(format=_CLASS_ONLY)
trace.log_policy_reject = trace.log_policy_reject._replace(format=_CLASS_ONLY)
trace.LOG_RETRY = "Task %(name)s[%(id)s] retry"
# It prints that a signal has come, past any log.
worker.safe_say = lambda *_, **__: None


@signals.celeryd_init.connect
def set_worker_up(sender: str, **_: Any) -> None:
    """Log as a process of the node's name: `worker`, `chat`. Before anything of a worker has something to say."""
    process = sender.partition("@")[0]
    configure(process)
    start_traces(process)


@signals.setup_logging.connect
def set_beat_up(**_: Any) -> None:
    """Log as beat, unless this is a worker. That somebody sets the logs up keeps Celery from it."""
    if not is_configured():
        configure("beat")
