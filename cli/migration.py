"""The database brought up to date, and what that changed."""

from dataclasses import dataclass

from cli.console import fail
from core.text.masking import masked, without_secrets


@dataclass(frozen=True)
class Change:
    """The database's revisions before and after; None before the first migration."""

    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before != self.after:
            return f"migrated from {self.before or 'empty'} to {self.after}"
        from core.stores.revisions import Schema, known_revisions

        schema = Schema(self.after, known_revisions())
        return f"{schema}; it is left as it is" if schema.is_newer else str(schema)


def migrate_database(url: str) -> Change:
    """Migrate the database at `url`. Raises CommandError in one line, without the password."""
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    from core.migrations.runner import ForeignRevision, migrate
    from core.operations.preflight.database import cause_of, database_mistake

    if mistake := database_mistake(url):
        fail(str(mistake))

    try:
        return Change(*migrate(url))
    except ForeignRevision as error:
        where = f"DATABASE_URL={masked(url)}"
        fail(f"{where}: it is at revision {error}, which no version of Switchboard has; name another")
    except (ArgumentError, ImportError, ValueError) as error:
        fail(f"DATABASE_URL={masked(url)} can't be used: {without_secrets(error, url)}")
    except SQLAlchemyError as error:
        wrong, right = cause_of(error, url)
        fail(f"the database {masked(url)} can't be migrated: {wrong}; {right}")
