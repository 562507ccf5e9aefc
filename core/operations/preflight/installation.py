"""A Redis that another installation uses."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from core.errors import Unavailable
from core.operations.installation import OWNER_KEY, Installations
from core.operations.preflight.mistake import Mistake, with_value
from core.operations.preflight.schema import schema_mistake
from core.stores.database import Database
from core.stores.installation_id import installation_id
from core.stores.redis import connect

TIMEOUT = 2.0
"""Seconds for each answer."""
PATIENCE = 3.5
"""Seconds in which one that was killed a moment ago, and counts still, may go. The whole look has to end in time
(DEADLINE in core/operations/preflight/stores.py)."""
POLL_INTERVAL = 0.25
ANOTHERS = "another installation uses it, whose database is another"
RIGHT = "name another database of it, as redis://host/1, or the DATABASE_URL of that installation"


def installation_mistake(redis_url: str, database_url: str, patience: float = PATIENCE) -> Mistake | None:
    """Whether workers over another database use this Redis, and still do after `patience` seconds. A store that is
    away has a line of its own."""
    if schema_mistake(database_url):  # it has no id yet
        return None
    until = time.monotonic() + patience
    with _installations(redis_url, database_url) as installations:
        try:
            while installations.is_anothers():
                if time.monotonic() >= until:
                    return Mistake(with_value("REDIS_URL", redis_url), ANOTHERS, RIGHT)
                time.sleep(POLL_INTERVAL)
        except Unavailable:
            pass
    return None


def remains_mistake(redis_url: str, database_url: str) -> Mistake | None:
    """Whether what is in this Redis is another installation's, which keeps no process from running, but from healing
    what it finds there."""
    if schema_mistake(database_url):
        return None
    with _installations(redis_url, database_url) as installations:
        try:
            if not installations.holds_anothers():
                return None
        except Unavailable:
            return None
    wrong = "it holds what another installation has left, whose database was another: nothing of that is removed"
    right = f"name another database of it or, if that installation is no more, have it forgotten: DEL {OWNER_KEY}"
    return Mistake(with_value("REDIS_URL", redis_url), wrong, right, harmless=True)


@contextmanager
def _installations(redis_url: str, database_url: str) -> Iterator[Installations]:
    database = Database(database_url, pool_size=1, patience=TIMEOUT)
    try:
        with closing(connect(redis_url, timeout=TIMEOUT)) as redis:
            yield Installations(lambda: installation_id(database), redis)
    finally:
        database.dispose()
