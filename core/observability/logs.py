"""A process's log: one handler for all that it and its libraries have to say, on standard error."""

import logging
import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Literal, TextIO

from core.observability.formatters import LogFormat, new_formatter
from core.observability.redaction import redactor
from core.observability.told import OURS, told

LogLevel = Literal["debug", "info", "warning", "error", "critical"]

LIBRARY_LEVELS = {"sqlalchemy": logging.WARNING}
"""Of those that say at `info` what others say at `debug`: each statement, each request."""

logger = logging.getLogger(__name__)


class Handler(logging.StreamHandler[TextIO]):
    """Writes what may be told of each record."""

    def __init__(self, process: str, log_format: LogFormat, secrets: Iterable[str], stream: TextIO) -> None:
        super().__init__(stream)
        self._process = process
        self._redact = redactor(secrets)
        self.setFormatter(new_formatter(log_format))

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, or in text with its exception below it."""
        return super().format(told(record, self._process, self._redact))


def configure_logs(process: str, level: LogLevel, log_format: LogFormat, secrets: Iterable[str]) -> None:
    """Have this process log as a `process` of this kind: `web`, `worker`, `chat`, `beat`, `flower`, `up`.

    Below `info` only our own lines are told: what libraries say there quotes all that passes through them. What
    nobody has caught is logged too.
    """
    logging.raiseExceptions = False  # the error of a line that can't be written quotes the line
    root = logging.getLogger()
    root.handlers[:] = [Handler(process, log_format, secrets, sys.stderr)]
    wanted = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(wanted, logging.INFO))
    for name in OURS:
        logging.getLogger(name).setLevel(wanted)
    for name, least in LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(wanted, least))
    logging.captureWarnings(True)
    sys.excepthook = log_uncaught
    threading.excepthook = lambda args: log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def is_configured() -> bool:
    """Whether this process logs so."""
    return any(isinstance(handler, Handler) for handler in logging.getLogger().handlers)


def log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Log what nobody has caught."""
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logger.error("an exception that nobody caught", exc_info=(kind, error or kind(), trace))
