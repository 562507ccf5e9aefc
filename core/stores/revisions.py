"""Which revision a database has, and whether this version can use it. Alembic is not loaded: every process looks."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Select, String, column, inspect, select, table

from core.stores.database import make_engine
from core.stores.deadline import within

REVISION_TIMEOUT = 5.0
"""Seconds to reach a database and learn its revision."""
COMMAND = "switchboard migrate"
_VERSIONS = Path(__file__).parents[1] / "migrations" / "versions"


@dataclass(frozen=True)
class Schema:
    """A database's revision, None before the first migration, beside those that this version has."""

    revision: str | None
    known: tuple[str, ...]
    """In the order of their numbers, of four digits; the last is the newest."""

    @property
    def newest(self) -> str:
        """The revision that this version expects."""
        return self.known[-1]

    @property
    def is_newer(self) -> bool:
        """Whether a newer version has migrated it. What it has added is no trouble for the version before."""
        return self.revision is not None and self.revision.isdecimal() and int(self.revision) > int(self.newest)

    @property
    def is_older(self) -> bool:
        """Whether it has to be migrated before this version can use it."""
        return self.revision is None or self.revision in self.known[:-1]

    @property
    def is_foreign(self) -> bool:
        """Whether no version has made it: its revision is another program's."""
        return not self.is_older and not self.is_newer and self.revision != self.newest

    def __str__(self) -> str:
        if self.revision is None:
            return f"is empty, and not migrated to this version's revision {self.newest}"
        at = f"is at revision {self.revision}"
        if self.is_newer:
            return f"{at}, newer than this version's {self.newest}"
        if self.is_older:
            return f"{at}, and not migrated to this version's {self.newest}"
        return f"{at}, which no version of Switchboard has" if self.is_foreign else at


@cache
def known_revisions() -> tuple[str, ...]:
    """All that this version has, in the order of their numbers."""
    return tuple(sorted(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*_*.py")))


def newest_revision() -> str:
    """The revision that this version expects."""
    return known_revisions()[-1]


def current_revision(url: str, patience: float = REVISION_TIMEOUT) -> str | None:
    """The revision the database at `url` has, or None before the first migration."""
    engine = make_engine(url, 1, patience)
    try:
        with within(patience), engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.scalar(revision_query())
    finally:
        engine.dispose()


def revision_query() -> "Select[str]":
    """What reads it, where there has been a migration."""
    return select(column("version_num", String)).select_from(table("alembic_version"))


def schema_of(url: str, patience: float = REVISION_TIMEOUT) -> Schema:
    """The state of the database at `url`. Raises what the driver raises when it can't be read."""
    return Schema(current_revision(url, patience), known_revisions())
