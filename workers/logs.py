"""The workers' log lines: Celery's, and at the end the ids that they concern, as `name=value`.

They are those that were logged as `extra`, and the task in which the line was written.
"""

import logging
from typing import Any

from celery import current_task, signals
from celery.utils.log import ColorFormatter

SHOWN = ("session_id", "generation_id", "task_id")
"""What of `extra` is shown."""


class IdFormatter(ColorFormatter):
    """Adds the ids to the line, before a traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        """The line without its traceback."""
        line = super().formatMessage(record)
        ids = {name: getattr(record, name) for name in SHOWN if hasattr(record, name)}
        if current_task and current_task.request.id:
            ids = {"task": current_task.name, "task_id": current_task.request.id, **ids}
        # Celery's own lines about a task have its name and its id already.
        return " ".join([line, *(f"{name}={value}" for name, value in ids.items() if str(value) not in line)])


@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def show_ids(logger: logging.Logger, format: str, colorize: bool | None, **_: Any) -> None:  # noqa: A002
    """Have Celery's handlers write the ids."""
    for handler in logger.handlers:
        handler.setFormatter(IdFormatter(format, use_color=colorize))
