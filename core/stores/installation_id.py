"""Which installation a database is of."""

from uuid import UUID

from sqlalchemy import select

from core.errors import NotMigrated
from core.stores.database import Database
from core.stores.tables import Installation


def installation_id(database: Database) -> UUID:
    """Its id, which a copy of the database has as well. Raises NotMigrated when it has none, and Unavailable."""
    with database.reading() as db:
        found = db.scalar(select(Installation.id).order_by(Installation.id).limit(1))
    if found is None:
        raise NotMigrated(retry_after=2)
    return found
