"""A database that answers, and has not the tables that this version wants."""

from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from core.errors import Unavailable
from core.operations.preflight.mistake import Mistake, with_value
from core.stores.revisions import COMMAND, schema_of

VARIABLE = "DATABASE_URL"
TIMEOUT = 1.5
"""Seconds. It has just answered."""


def schema_mistake(url: str) -> Mistake | None:
    """What has to be done before this version can use the database at `url`, or None: also when it is away."""
    parts = make_url(url)
    setting, remedy = with_value(VARIABLE, url), f"run: {COMMAND}"
    if parts.get_backend_name() == "sqlite" and not Path(parts.database or "").exists():
        return Mistake(setting, "there is no such file yet", remedy, passing=True)
    try:
        schema = schema_of(url, TIMEOUT)
    except (SQLAlchemyError, Unavailable):
        return None
    if schema.is_foreign:
        return Mistake(setting, f"it {schema}", "name another")
    return Mistake(setting, f"it {schema}", remedy, passing=True) if schema.is_older else None
