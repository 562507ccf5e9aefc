"""Watches that SessionService alone writes the session table, in whatever a test run does in its own process.

Every statement that reaches a database passes here, so ORM attributes, deletes of the unit of work, statements and
raw SQL are all seen, and so are sessions that would go by cascade with an account. The writer of a statement is the
innermost function of ours on the call stack. Tests may write what they like.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import UOWTransaction

from core.stores.tables import Session

ROOT = Path(__file__).parents[2]
WRITER = "core/sessions/service.py"
PLUMBING = ("core/stores/", "core/migrations/")
"""What carries others' statements, and what changes the table's own shape."""
OURS = ("core/", "web/", "workers/", "cli/", "tests/")

WRITES_SESSIONS = re.compile(
    r"""\b (insert (\s+or\s+\w+)? \s+into | replace \s+into | merge \s+into
          | update (\s+or\s+\w+)? (\s+only)? | delete \s+from (\s+only)? | truncate (\s+table)?)
        \s+ (["\w]+\.)? "?session"? (?![\w".])""",
    re.IGNORECASE | re.VERBOSE,
)
"""SQL that inserts, updates or deletes rows of the table `session`, at its beginning or after WITH."""
DELETES_USERS = re.compile(r'\s*delete\s+from\s+"?user"?(?P<rest>\s.*|$)', re.IGNORECASE | re.DOTALL)


class SoleWriter:
    """Collects the writes of others."""

    def __init__(self) -> None:
        self._violations: list[str] = []

    def take_violations(self) -> list[str]:
        """The violations since the last call."""
        taken, self._violations = self._violations, []
        return taken

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch all engines and all database sessions of the process."""
        listeners = (
            (Engine, "before_cursor_execute", self._check_statement),
            (DatabaseSession, "before_flush", self._check_flush),
        )
        for target, name, listener in listeners:
            event.listen(target, name, listener)
        try:
            yield
        finally:
            for target, name, listener in listeners:
                event.remove(target, name, listener)

    def _check_statement(
        self, connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if WRITES_SESSIONS.search(statement):
            self._note(statement, allowed=(WRITER, "tests/"))
        elif (users := DELETES_USERS.match(statement)) and not many:
            cascade = f'SELECT count(*) FROM session WHERE owner_id IN (SELECT id FROM "user"{users["rest"]})'
            if connection.exec_driver_sql(cascade, parameters).scalar():
                self._note(f"{statement} and, by cascade, of sessions", allowed=("tests/",))

    def _check_flush(self, db_session: DatabaseSession, _context: UOWTransaction, _instances: Any) -> None:
        """The unit of work writes no sessions at all: a flush comes late, and may come from anybody's query."""
        changed = [row for row in db_session.dirty if db_session.is_modified(row)]
        if any(isinstance(row, Session) for row in (*db_session.new, *changed, *db_session.deleted)):
            self._note("a flush of a session's row", allowed=("tests/",))

    def _note(self, what: str, allowed: tuple[str, ...]) -> None:
        path, line = _innermost()
        if not path.startswith(allowed):
            self._violations.append(f"{path}:{line}: {what}")


def _innermost() -> tuple[str, int]:
    """Where the innermost function of ours is; this module and the plumbing don't count."""
    frame = sys._getframe(2)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        path = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else ""
        if path.startswith(OURS) and not path.startswith(PLUMBING) and file != Path(__file__):
            return path, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return "tests/", 0
