"""Watches that SessionService alone writes the session table.

The databases report each write of its rows, however it is spelled and whoever's cursor it comes through: SQLite by
temporary triggers that call a function of the connection, PostgreSQL by triggers that send a notice (as INFO, which
no setting suppresses, and in any replication role), which the driver hands over before the statement returns. So the
writer is on the call stack then: the innermost function of ours, or who has called a private one of the service's.
Sessions that go by cascade with an account are reported like all others. Tests may write what they like.

Who changes a loaded row is noted when the attribute is set: the flush comes late, and maybe from anybody's query. Who
marks one for deletion is not: that is held against whoever flushes.

Processes that the tests start watch themselves (tests/support/watched), and add to the same report.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from sqlalchemy import Engine, event, inspect
from sqlalchemy.orm import Session as DatabaseSession

from core.stores.tables import Session

ROOT = Path(__file__).parents[2]
WATCHED = Path(__file__).with_name("watched")
"""To be in the PYTHONPATH of processes that are to be watched."""
WRITER = "core/sessions/service.py"
MIGRATIONS = "core/migrations/versions/"
"""They change the table's own shape."""
PLUMBING = tuple(f"core/stores/{name}.py" for name in ("breaker", "database", "deadline", "postgres", "sqlite"))
"""What carries others' statements."""
FLUSH: CodeType = DatabaseSession._flush.__code__
NOTICE = "rows of the session table: "
STACK_DEPTH = 4
"""How many functions of ours a violation names."""

SQLITE_TRIGGERS = [
    f"CREATE TEMP TRIGGER IF NOT EXISTS watch_{operation} AFTER {operation} ON main.session"
    f" BEGIN SELECT session_written('{operation}'); END"
    for operation in ("INSERT", "UPDATE", "DELETE")
]
POSTGRES_TRIGGERS = [
    f"""CREATE FUNCTION session_written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP <> 'TRUNCATE' THEN
            IF NOT EXISTS (SELECT FROM written) THEN RETURN NULL; END IF;
        END IF;
        RAISE INFO USING MESSAGE = '{NOTICE}' || TG_OP;
        RETURN NULL;
    END $$""",
    "CREATE TRIGGER watch_truncate AFTER TRUNCATE ON session EXECUTE FUNCTION session_written()",
    *(
        f"CREATE TRIGGER watch_{operation} AFTER {operation} ON session REFERENCING {rows} TABLE AS written"
        " EXECUTE FUNCTION session_written()"
        for operation, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
    ),
    *(
        f"ALTER TABLE session ENABLE ALWAYS TRIGGER watch_{operation}"
        for operation in ("truncate", "insert", "update", "delete")
    ),
]
"""For the template of all databases. One notice for a statement, and none when it meets no row."""


class SoleWriter:
    """Reports the writes of others in a file, a line each."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._taken = 0

    def take_violations(self) -> list[str]:
        """The violations since the last call."""
        if not self._report.exists():
            return []
        with self._report.open() as report:
            report.seek(self._taken)
            violations = report.read().splitlines()
            self._taken = report.tell()
        return violations

    def watch(self) -> None:
        """Watch all connections of SQLAlchemy's engines and all loaded sessions, as long as the process lives."""
        event.listen(Engine, "checkout", self._watch_connection)
        for column in inspect(Session).column_attrs:
            event.listen(getattr(Session, column.key), "set", self._check_attribute)

    def _watch_connection(self, connection: Any, record: Any, _proxy: Any) -> None:
        if "watched" in record.info:
            return
        if isinstance(connection, sqlite3.Connection):
            # No table yet, or no database that can be read: the next who takes the connection tries again.
            with suppress(sqlite3.DatabaseError):
                connection.create_function("session_written", 1, self._check_write)
                for trigger in SQLITE_TRIGGERS:
                    connection.execute(trigger)
                record.info["watched"] = True
        else:
            connection.add_notice_handler(self._check_notice)
            record.info["watched"] = True

    def _check_notice(self, diagnostic: Any) -> None:
        if (message := diagnostic.message_primary or "").startswith(NOTICE):
            self._check_write(message.removeprefix(NOTICE))

    def _check_write(self, operation: str) -> None:
        """The service writes by statements: what is flushed while it works is somebody else's."""
        frame, flushed = _innermost(sys._getframe(1))
        frame = _borrower(frame) or frame
        allowed = ("tests/", MIGRATIONS) if flushed else ("tests/", MIGRATIONS, WRITER)
        self._check(frame, f"{operation}{' by a flush' if flushed else ''}", allowed)

    def _check_attribute(self, _row: Session, value: Any, before: Any, attribute: Any) -> None:
        if value != before:
            self._check(_innermost(sys._getframe(1))[0], f"{attribute.key} is set", ("tests/",))

    def _check(self, frame: FrameType | None, what: str, allowed: tuple[str, ...]) -> None:
        if frame is not None and _ours(frame.f_code.co_filename).startswith(allowed):
            return
        stack = " < ".join(list(_stack(frame))[:STACK_DEPTH])
        with self._report.open("a") as report:
            report.write(f"{stack or 'nobody of ours'}: {what}\n")


def environment(report: Path) -> dict[str, str]:
    """What has Python processes watch themselves, and report here."""
    inherited = os.environ.get("PYTHONPATH")
    return {
        "SOLE_WRITER_REPORT": str(report),
        "PYTHONPATH": os.pathsep.join([str(WATCHED), *([inherited] if inherited else [])]),
    }


@cache
def _ours(filename: str) -> str:
    """The path of a file of ours in the project; that of others, and of what carries statements, is empty."""
    path = filename.removeprefix(f"{ROOT}/")
    return "" if path == filename or path.startswith((".", *PLUMBING)) or filename == __file__ else path


def _innermost(frame: FrameType | None) -> tuple[FrameType | None, bool]:
    """The innermost frame of ours, and whether a flush is what it has called."""
    flushed = False
    while frame is not None and not _ours(frame.f_code.co_filename):
        flushed = flushed or frame.f_code is FLUSH
        frame = frame.f_back
    return frame, flushed


def _borrower(frame: FrameType | None) -> FrameType | None:
    """Who has called a private function of the writer's from outside, if that is how this frame came to write."""
    entry = None
    while frame is not None and _ours(frame.f_code.co_filename) == WRITER:
        entry = frame
        frame, _ = _innermost(frame.f_back)
    return frame if entry is not None and entry.f_code.co_name.startswith("_") else None


def _stack(frame: FrameType | None) -> Iterator[str]:
    """Our functions from this frame on, outwards."""
    while frame is not None:
        if path := _ours(frame.f_code.co_filename):
            yield f"{path}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
