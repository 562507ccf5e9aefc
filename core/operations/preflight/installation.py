"""A Redis that another installation uses."""

from contextlib import closing

from core.errors import Unavailable
from core.operations.installation import Installations
from core.operations.preflight.mistake import Mistake, with_value
from core.stores.database import Database
from core.stores.redis import connect

TIMEOUT = 2.0
"""Seconds for each answer."""
ANOTHERS = "another installation uses it, whose database is another"
RIGHT = "name another database of it, as redis://host/1, or the DATABASE_URL of that installation"


def installation_mistake(redis_url: str, database_url: str) -> Mistake | None:
    """Whether workers over another database use this Redis. A store that is away has a line of its own."""
    database = Database(database_url, pool_size=1, patience=TIMEOUT)
    try:
        with closing(connect(redis_url, timeout=TIMEOUT)) as redis:
            if Installations(database, redis).is_anothers():
                return Mistake(with_value("REDIS_URL", redis_url), ANOTHERS, RIGHT)
    except Unavailable:
        pass
    finally:
        database.dispose()
    return None
