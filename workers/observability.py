"""The log and the traces of a process that Celery starts."""

from core.observability.logs import configure_logs
from core.observability.tracing import start_tracing
from core.operations.preflight.environment import settings_of_process


def configure(process: str) -> None:
    """Have this process log as a `process` of this kind."""
    settings = settings_of_process()
    configure_logs(process, settings.log_level, settings.log_format, settings.secrets)


def start_traces(process: str) -> None:
    """Take traces of this process, if they are wanted."""
    start_tracing(settings_of_process().tracing, process)
