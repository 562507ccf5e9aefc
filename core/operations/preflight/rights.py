"""What a user of PostgreSQL may do, beside what the tables want."""

from core.stores.database import Database
from core.stores.tables import Base

MAX_SHOWN = 3


def lacking_rights(database: Database) -> str:
    """What the user of a PostgreSQL may not use, in words; empty when there is nothing, or no table yet. Raises
    Unavailable."""
    from core.stores.postgres import LACKING_RIGHTS  # loads the driver, which others have no use for

    with database.reading() as db:
        names = list(db.scalars(LACKING_RIGHTS, {"tables": list(Base.metadata.tables)}))
    if not names:
        return ""
    shown = ", ".join(names[:MAX_SHOWN])
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return f"its user may not read and write {shown}{more}"
