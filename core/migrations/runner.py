"""Runs the migrations, and tells which revision a database has."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from core.stores.database import make_engine
from core.stores.deadline import within

REVISION_TIMEOUT = 5.0
"""Seconds to reach a database and learn its revision."""


def migrate(url: str) -> tuple[str | None, str | None]:
    """Bring the database at `url` to the newest revision; make it if it is an SQLite file.

    Returns the revisions before and after. Safe to run twice, and by two processes at once on PostgreSQL.
    """
    before = current_revision(url)
    config = _alembic(url)
    if before != newest_revision():
        command.upgrade(config, "head")
    return before, newest_revision()


def newest_revision() -> str | None:
    """The revision that this code expects."""
    return ScriptDirectory.from_config(_alembic("")).get_current_head()


def current_revision(url: str) -> str | None:
    """The revision the database at `url` has, or None before the first migration."""
    engine = make_engine(url, 1, REVISION_TIMEOUT)
    try:
        with within(REVISION_TIMEOUT), engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def _alembic(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["url"] = url
    return config
