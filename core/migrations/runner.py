"""Runs the migrations, and drafts them."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.operations.ops import AddColumnOp, MigrationScript, ModifyTableOps
from alembic.script import Script

from core.stores.revisions import newest_revision, schema_of


class ForeignRevision(Exception):
    """The database has a revision of another program's. The message is that revision."""


def migrate(url: str) -> tuple[str | None, str | None]:
    """Bring the database at `url` to the newest revision; make it if it is an SQLite file.

    Returns the revisions before and after. One that a newer version has migrated is left as it is: this version runs
    on it, too. Safe to run twice, and by several processes at once: one after the other. Raises ForeignRevision.
    """
    schema = schema_of(url)
    if schema.is_foreign:
        raise ForeignRevision(schema.revision)
    if not schema.is_older:
        return schema.revision, schema.revision
    command.upgrade(_alembic(url), "head")
    return schema.revision, schema.newest


class ColumnNeedsDefault(Exception):
    """A new column must have a value in every row, and the rows that are there get none."""


def draft(url: str, message: str) -> Path:
    """Write the next version: what the tables have and an empty database at `url`, brought to the newest revision,
    lacks. Returns the file, which a person then reads and corrects. Raises ColumnNeedsDefault."""
    migrate(url)
    number = f"{int(newest_revision()) + 1:04}"
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
