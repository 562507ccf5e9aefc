"""What a line tells of a log record: bounded, and without what may quote people.

Of an exception it tells the class and the place, and not its words: libraries quote what they were given. Of a
library's line it tells the first, with exceptions by their class; and of what was given with a record only known
fields.
"""

import logging
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from core.errors import ConfigurationError
from core.observability.log_ids import current_ids

OURS = ("broker", "celery_config", "cli", "core", "web", "workers")
"""Whose lines are told as they were written."""
IDS = ("request_id", "task", "task_id", "session_id", "generation_id")
"""Fields that say what a line is about."""
FIELDS = (
    *IDS,
    *("method", "route", "status"),
    *("model", "attempt", "outcome", "reason", "first_token_ms", "ms", "prompt_tokens", "completion_tokens"),
)
"""What of `extra` is told."""
MAX_MESSAGE = 4000
MAX_EXCEPTION = 8000
"""Characters. With all escapes a line stays below the 64 KiB that `switchboard up` reads at once."""
MAX_FIELD = 128
_LONGEST_SECRET = 512
"""Characters that are looked at beyond a bound, so that no secret is cut and then not known."""

_PHRASE = re.compile(
    "Not enough good replicas to write|read only replica|OOM command not allowed|MISCONF|LOADING|NOAUTH|WRONGPASS"
    "|NOPERM|CLUSTERDOWN|MASTERDOWN|max number of clients reached|ACCESS_REFUSED|NOT_ALLOWED|PRECONDITION_FAILED"
    "|Connection refused|Connection reset by peer|Connection closed by server|Broken pipe|[Tt]imed? ?out"
    "|Name or service not known|Temporary failure in name resolution|CERTIFICATE_VERIFY_FAILED"
    "|database is locked|disk I/O error|database or disk is full|password authentication failed"
)
"""What Redis, RabbitMQ, databases and the system call their troubles, in whatever their errors quote besides."""

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def is_ours(name: str) -> bool:
    """Whether a logger is this project's."""
    return name.partition(".")[0] in OURS


def told(record: logging.LogRecord, process: str, redact: Callable[[str], str]) -> logging.LogRecord:
    """Another record, with nothing but what is told. `process` is the kind of this process. Raises nothing."""
    shown: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "created": record.created,
        "levelno": record.levelno,
        "levelname": record.levelname,
        "level": record.levelname.lower(),
        "name": record.name,
        "process": process,
        "msg": _bounded(_message(record), MAX_MESSAGE, redact),
        **fields_of(record, redact),
    }
    if record.exc_info and record.exc_info[1] is not None:
        shown["exc_text"] = _bounded(place_of(record.exc_info), MAX_EXCEPTION, redact)
    return logging.makeLogRecord(shown)


def fields_of(record: logging.LogRecord, redact: Callable[[str], str]) -> dict[str, str | int | float]:
    """The ids and figures of a line: its own, and those of what is being done."""
    values: Mapping[str, Any] = {**current_ids(), **record.__dict__}
    return {name: _field(values[name], redact) for name in FIELDS if values.get(name) is not None}


def place_of(exc_info: ExcInfo) -> str:
    """An exception and those before it, the last one at the end: where it came from, and its class."""
    parts = []
    for error, trace, joined in _chain(*exc_info[1:]):
        try:
            frames = "".join(traceback.format_tb(trace))
        except Exception:  # Celery makes tracebacks of its own
            frames = ""
        parts.append(f"{frames}{_described(error)}{joined}")
    return "\n".join(reversed(parts))


def _chain(error: BaseException, trace: TracebackType | None) -> Iterator[tuple[BaseException, Any, str]]:
    seen = set[int]()
    following: BaseException | None = error
    joined = ""
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following, trace if following is error else following.__traceback__, joined
        if following.__cause__ is not None:
            following, joined = following.__cause__, "\n... which has caused:"
        else:
            following = None if following.__suppress_context__ else following.__context__
            joined = "\n... and meanwhile:"


def _described(error: BaseException) -> str:
    """The class, and of the words what can't be people's: ours, the system's, and phrases that servers have."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, ConfigurationError):
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.errno and error.strerror:
        return f"{name}: {error.strerror}"
    with suppress(Exception):
        if phrase := _PHRASE.search(str(error)[:1000]):
            return f"{name}: {phrase[0]}"
    return name


def _message(record: logging.LogRecord) -> str:
    ours = is_ours(record.name)
    message, args = "", record.args
    with suppress(Exception):
        message = str(record.msg)
    if not ours:
        if isinstance(record.msg, BaseException):
            message = _described(record.msg)
        args = _without_exceptions(args)
    with suppress(Exception):  # the line is wrong, and its arguments may be anything
        message = message % args if args else message
    return message if ours else message.strip().partition("\n")[0]


def _without_exceptions(args: Any) -> Any:
    if isinstance(args, Mapping):
        return {name: _described(each) if isinstance(each, BaseException) else each for name, each in args.items()}
    return tuple(_described(each) if isinstance(each, BaseException) else each for each in args or ())


def _field(value: Any, redact: Callable[[str], str]) -> str | int | float:
    if isinstance(value, int | float):
        return value
    with suppress(Exception):
        return _bounded(str(value), MAX_FIELD, redact)
    return ""


def _bounded(text: str, limit: int, redact: Callable[[str], str]) -> str:
    length = len(text)
    if length <= limit:
        return redact(text)
    return f"{redact(text[: limit + _LONGEST_SECRET])[:limit]}... ({length} characters)"
