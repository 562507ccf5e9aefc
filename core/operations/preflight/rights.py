"""What a user of PostgreSQL may do, beside what the tables want."""

from sqlalchemy import text

from core.stores.database import Database
from core.stores.tables import Base

MAX_SHOWN = 3
_LACKING = text(
    """
    SELECT relname FROM pg_class AS c WHERE pg_table_is_visible(oid) AND CASE
        WHEN relname = 'alembic_version' THEN NOT has_table_privilege(oid, 'SELECT')
        WHEN relkind IN ('r', 'p') AND relname = ANY(:tables) THEN
            NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
        WHEN relkind = 'S' AND EXISTS (
            SELECT FROM pg_depend JOIN pg_class AS owner ON owner.oid = refobjid
            WHERE objid = c.oid AND owner.relname = ANY(:tables)
        ) THEN NOT has_sequence_privilege(oid, 'USAGE')
    END ORDER BY relname
    """
)


def lacking_rights(database: Database) -> str:
    """What the user of a PostgreSQL may not use, in words; empty when there is nothing, or no table yet. Raises
    Unavailable."""
    with database.reading() as db:
        names = list(db.scalars(_LACKING, {"tables": list(Base.metadata.tables)}))
    if not names:
        return ""
    shown = ", ".join(names[:MAX_SHOWN])
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return f"its user may not read and write {shown}{more}"
