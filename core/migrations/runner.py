"""Runs the migrations, and tells which revision a database has."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

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


def draft(url: str, message: str) -> Path:
    """Write the next version: what the tables have and an empty database at `url`, brought to the newest revision,
    lacks. Returns the file, which a person then reads and corrects."""
    migrate(url)
    number = f"{int(newest_revision() or 0) + 1:04}"
    script = command.revision(_alembic(url), message, autogenerate=True, rev_id=number)
    assert isinstance(script, Script)
    return Path(script.path)


def _alembic(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["url"] = url
    return config
