"""Whether the database lets its processes have the connections that their pools may make."""

import os
from collections.abc import Iterator

from cli.finding import Finding

WORKERS = 2
"""Worker processes of the Procfile: `worker` and `chat`."""
REMEDY = (
    "Raise max_connections, lower SWITCHBOARD_DATABASE_POOL_WEB or _WORKER, or put PgBouncer between "
    "(DATABASE_URL with ?pooler=transaction)."
)


def look_at_connections(database_url: str, web_pool: int, worker_pool: int) -> Iterator[Finding]:
    """Compare what one web process (or WEB_CONCURRENCY of them) and the two workers may make with max_connections."""
    from sqlalchemy import func, select

    from core.stores.database import Database
    from core.stores.postgres import split_pooler

    webs = max(1, int(os.environ.get("WEB_CONCURRENCY") or 1))
    wanted = 2 * (webs * web_pool + WORKERS * worker_pool)
    processes = f"{webs} web and {WORKERS} worker processes may make {wanted} connections"
    if split_pooler(database_url)[1]:
        yield Finding("database", f"{processes} to the pooler, whose max_client_conn must allow them")
        return
    database = Database(database_url, pool_size=1)
    try:
        with database.reading() as db:
            allowed = int(db.scalar(select(func.current_setting("max_connections"))) or 0)
            allowed -= int(db.scalar(select(func.current_setting("superuser_reserved_connections"))) or 0)
    finally:
        database.dispose()
    fits = wanted <= allowed
    yield Finding("database", f"{processes} of {allowed}", "" if fits else REMEDY, doubtful=not fits)
