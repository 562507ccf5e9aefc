"""A line as text, or as a JSON object. Both take records as core/observability/told.py makes them."""

import logging
import re
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from core.observability.told import FIELDS

LogFormat = Literal["text", "json"]

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What a terminal may obey or a reader of lines take for the end of one, but for the line feed."""


class TextFormatter(logging.Formatter):
    """`time LEVEL process logger: message name=value ...`; what goes on in further lines is indented, so that no
    message looks like another line."""

    def __init__(self) -> None:
        super().__init__("%(time)s %(levelname)s %(process)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        """The line without its exception."""
        line = super().formatMessage(record)
        fields = {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        for name in ("task", "task_id"):  # Celery's own lines about a task have them already
            if str(fields.get(name, "")) in line:
                fields.pop(name, None)
        return " ".join([line, *(f"{name}={value}" for name, value in fields.items())])

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return _CONTROL.sub(_escaped, super().format(record)).replace("\n", "\n    ")


def new_formatter(log_format: LogFormat) -> logging.Formatter:
    """The formatter of this name."""
    if log_format == "text":
        return TextFormatter()
    return JsonFormatter(
        ["time", "level", "process", "name", "message"], rename_fields={"name": "logger", "exc_info": "exception"}
    )


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
