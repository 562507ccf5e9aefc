"""Runs the migrations, and tells which revision a database has."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.operations.ops import AddColumnOp, MigrationScript, ModifyTableOps
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


class ColumnNeedsDefault(Exception):
    """A new column must have a value in every row, and the rows that are there get none."""


def draft(url: str, message: str) -> Path:
    """Write the next version: what the tables have and an empty database at `url`, brought to the newest revision,
    lacks. Returns the file, which a person then reads and corrects. Raises ColumnNeedsDefault."""
    migrate(url)
    number = f"{int(newest_revision() or 0) + 1:04}"
    script = command.revision(
        _alembic(url), message, autogenerate=True, rev_id=number, process_revision_directives=_require_defaults
    )
    assert isinstance(script, Script)
    return Path(script.path)


def _require_defaults(_context: object, _revision: object, scripts: list[MigrationScript]) -> None:
    """Also the version before, which knows nothing of the column, inserts rows without it."""
    changes = [change for script in scripts if script.upgrade_ops for change in script.upgrade_ops.ops]
    for change in changes:
        for each in change.ops if isinstance(change, ModifyTableOps) else ():
            if isinstance(each, AddColumnOp) and not each.column.nullable and each.column.server_default is None:
                raise ColumnNeedsDefault(
                    f"{each.table_name}.{each.column.name} is NOT NULL: rows that are there, and those of the version"
                    " before, have no value for it. Give it a server_default, or let it be NULL"
                )


def _alembic(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["url"] = url
    return config
