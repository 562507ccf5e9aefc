"""What keeps a database from being used."""

import os
import re
from pathlib import Path

from sqlalchemy import URL, func, make_url
from sqlalchemy.exc import DBAPIError

from core.errors import Unavailable, WritesRefused
from core.operations.preflight.mistake import Mistake, with_value
from core.operations.preflight.rights import lacking_rights
from core.stores.database import READ_ONLY, Database
from core.text.characters import one_line
from core.text.masking import without_secrets

VARIABLE = "DATABASE_URL"
TIMEOUT = 3.0
"""Seconds."""
QUOTES = "\"'"
ADDRESS = "start the server, or correct the address"
UTF8 = "UTF8"
RIGHT_ENCODING = "make it anew: CREATE DATABASE name ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0"
GRANT = "GRANT it that, or name the user who owns the database"
MORE = "raise its CONNECTION LIMIT"

# libpq's words, and PostgreSQL's: a connection that was refused has no code of an error.
_CAUSES = (
    (r"\S+ authentication failed for user (\S+)", "it refuses the password of {0}", "correct it", False),
    (r"no password supplied", "it wants a password", "write postgresql://user:password@host/name", False),
    (r"database (\S+) does not exist", "it has no database {0}", "make it (createdb), or correct the name", False),
    (r"role (\S+) does not exist", "it knows no user {0}", "make it (createuser), or correct the name", False),
    (r"role (\S+) is not permitted to log in", "{0} may not log in", "let it: ALTER ROLE {0} LOGIN", False),
    (r"permission denied for database (\S+)", "its user may not use the database {0}", GRANT, True),
    (r"permission denied for (.+)", "its user may not use {0}", GRANT, True),
    (r"no schema has been selected", "its user may use no schema of search_path", GRANT, True),
    (r"database (\S+) is not currently accepting", "it takes no connections to {0}", "let it take some", True),
    (r"too many connections for (role|database) (\S+)", "the {0} {1} has no connection left", MORE, True),
    (r"no pg_hba.conf entry", "it refuses this machine or user (pg_hba.conf)", "allow it there", False),
    (r"does not support SSL", "it speaks without TLS, which sslmode asks for", "leave sslmode out", False),
    (r"(invalid \S+ value: \S+)", "{0}", "correct that", False),
    (r"Connection refused", "nothing listens there", ADDRESS, True),
    (r"No such file or directory", "there is no such socket", ADDRESS, True),
    (r"failed to resolve host (\S+?):", "no address is known for {0}", "correct the name", True),
    (r"starting up|shutting down|in recovery", "it is starting or stopping", "wait until it takes connections", True),
    (r"too many (?:clients|connections)", "it has no connection left", "raise its max_connections", True),
)


def database_mistake(url: str) -> Mistake | None:
    """What keeps the database at `url` from being used, or None. Takes about three seconds at most."""
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        found = _file_mistake(parts)
        if found is not None:
            return Mistake(with_value(VARIABLE, url), *found)
        if not parts.database or not Path(parts.database).exists():
            return None  # it is made by its migration
    try:
        database = Database(url, pool_size=1, patience=TIMEOUT)
        try:
            database.require_writable()
            if parts.get_backend_name() == "postgresql" and (encoding := _encoding(database)) != UTF8:
                wrong = f"its encoding is {encoding}, which has not every character"
                return Mistake(with_value(VARIABLE, url), wrong, RIGHT_ENCODING)
            lack = lacking_rights(database) if parts.get_backend_name() == "postgresql" else ""
        finally:
            database.dispose()
    except WritesRefused as error:
        right = "free some of it" if error.reason != READ_ONLY else "name the primary, or have it take writes"
        return Mistake(with_value(VARIABLE, url), error.reason, right, passing=True)
    except (Unavailable, DBAPIError) as error:
        wrong, right, passing = _cause(error.cause if isinstance(error, Unavailable) else error)
        return Mistake(with_value(VARIABLE, url), one_line(without_secrets(wrong, url)), right, passing)
    return Mistake(with_value(VARIABLE, url), lack, GRANT, passing=True) if lack else None


def cause_of(error: BaseException, url: str) -> tuple[str, str]:
    """What is wrong with the database at `url`, by what its driver has raised, and what would be right."""
    wrong, right, _ = _cause(error)
    return one_line(without_secrets(wrong, url)), right


def _encoding(database: Database) -> str:
    with database.reading() as db:
        return str(db.scalar(func.current_setting("server_encoding")))


def _file_mistake(url: URL) -> tuple[str, str] | None:
    if not url.database or url.database == ":memory:":
        return "a database in memory is another one in each process", "name a file: sqlite:////path/to/file"
    path = Path(url.database).absolute()
    existing = path if path.exists() else next(parent for parent in path.parents if parent.exists())
    if path.is_dir():
        return "it is a directory", "name a file in it"
    if existing not in (path, path.parent):
        return f"there is no directory {path.parent}", "make it, or correct the path"
    if not os.access(existing, os.W_OK) or not os.access(path.parent, os.W_OK):
        return f"this user (uid {os.geteuid()}) may not write in {path.parent}", "let it, or correct the path"
    return None


def _cause(error: BaseException) -> tuple[str, str, bool]:
    said = str(getattr(error, "orig", None) or error).strip()
    for pattern, wrong, right, passing in _CAUSES:
        if found := re.search(pattern, said):
            names = [name.strip(QUOTES) for name in found.groups()]
            return wrong.format(*names), right.format(*names), passing
    if "timeout" in said or getattr(getattr(error, "orig", None), "silent", False):
        return f"no answer within {TIMEOUT:g} s", "is it a PostgreSQL, and does no firewall stand between?", True
    first = said.splitlines()[0].rpartition("failed: ")[2] if said else type(error).__name__
    return first, "correct it, or see the server's log", True
