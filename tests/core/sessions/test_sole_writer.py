"""SessionService alone writes the session table: other code that does is found, whichever way it takes.

tests/conftest.py has every test watched; here the watch itself is tested, and code that no test runs is read.
"""

import ast
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.llm.catalog import load_catalog
from core.llm.client_pool import ClientPool
from core.migrations.runner import migrate
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import Session
from tests.conftest import TurnableClock, new_user
from tests.support.session_rules import RULES
from tests.support.sole_writer import MIGRATIONS, PLUMBING, ROOT, WRITER, SoleWriter

ELSEWHERE = "core/generation/elsewhere.py"
PRELUDE = """
from sqlalchemy import delete, insert, select, text, update
from core.stores.tables import Session, User

def act(db, session_id, user_id, service, schema):
    def raw(sql):
        db.connection().exec_driver_sql(sql)
    {}
"""

WAYS = {
    "an attribute": "db.get(Session, session_id).title = 'x'",
    "an attribute by name": "setattr(db.get(Session, session_id), 'title', 'x')",
    "an attribute, flushed by the service": (
        "db.get(Session, session_id).title = 'x'; service.list_sessions(user_id, db)"
    ),
    "a deletion, flushed by the service": (
        "db.delete(db.get(Session, session_id)); service.list_sessions(user_id, db)"
    ),
    "the unit of work": "db.delete(db.get(Session, session_id)); db.flush()",
    "a new row": (
        "old = db.get(Session, session_id); db.delete(old); db.flush(); db.add(Session(id=user_id,"
        " owner_id=user_id, last_model='m', version=1, created_at=old.created_at, expires_at=old.expires_at,"
        " ends_at=old.ends_at))"
    ),
    "update()": "db.execute(update(Session).values(title='x'))",
    "delete()": "db.execute(delete(Session).where(Session.id == session_id))",
    "insert()": (
        "old = db.get(Session, session_id); db.execute(insert(Session).values(id=user_id, owner_id=user_id,"
        " last_model='m', version=1, created_at=old.created_at, expires_at=old.expires_at, ends_at=old.ends_at))"
    ),
    "rows in bulk": "db.execute(update(Session), [{'id': session_id, 'title': 'x'}])",
    "raw SQL": "db.execute(text('update  Session set title = NULL'))",
    "raw SQL of the driver": "raw('/* x */ DELETE FROM session')",
    "a cursor of the driver": "db.connection().connection.cursor().execute('DELETE FROM session')",
    "a quoted name": "raw('DELETE FROM \"session\"')",
    "a qualified name": "raw(f'DELETE FROM {schema}.session')",
    "a qualified, quoted name": 'raw(f\'UPDATE "{schema}" . "session" SET title = NULL\')',
    "comments between the words": "raw('UPDATE /* a */ session -- b\\n SET title = NULL')",
    "SQL after WITH": "db.execute(text('WITH old AS (SELECT id FROM \"user\") DELETE FROM session'))",
    "an upsert": (
        "raw('INSERT INTO session SELECT * FROM session WHERE true ON CONFLICT (id) DO UPDATE SET title = NULL')"
    ),
    "a private function of the service": (
        "from core.sessions.service import _update; _update(db, Session.id == session_id, title='x')"
    ),
    "a cascade from the account": "db.execute(delete(User).where(User.id == user_id))",
    "a cascade from the account's object": "db.delete(db.get(User, user_id)); db.flush()",
}
"""Python statements that write the table, as code elsewhere could."""
SQLITE_WAYS = {
    "INSERT OR REPLACE": "raw('INSERT OR REPLACE INTO session SELECT * FROM session')",
    "REPLACE": "raw('REPLACE INTO [session] SELECT * FROM session')",
    "a cascade from an account that is replaced": "raw('REPLACE INTO user SELECT * FROM user')",
}
POSTGRES_WAYS = {
    "DML inside of WITH": "raw('WITH gone AS (DELETE FROM session RETURNING id) SELECT count(*) FROM gone')",
    "TRUNCATE": "raw('TRUNCATE session CASCADE')",
    "TRUNCATE of accounts": "raw('TRUNCATE \"user\" CASCADE')",
    "MERGE": 'raw(\'MERGE INTO session USING "user" ON owner_id = "user".id WHEN MATCHED THEN DELETE\')',
    "ONLY": "raw('DELETE FROM ONLY session')",
    "notices are off": (
        "db.execute(text(\"SELECT set_config('client_min_messages', 'error', true)\")); raw('DELETE FROM session')"
    ),
    "triggers are off": "raw('SET LOCAL session_replication_role = replica'); raw('DELETE FROM session')",
    "a DO block": "raw(\"DO $$ BEGIN EXECUTE 'DELETE FROM ses' || 'sion'; END $$\")",
}

HARMLESS = {
    "reading": "list(db.scalars(select(Session)))",
    "a lock": "db.get(Session, session_id, with_for_update=True)",
    "the service": "service.extend_session(session_id, db)",
    "an attribute that stays as it is": "row = db.get(Session, session_id); row.title = row.title",
    "an account without sessions": (
        "service.delete_sessions([session_id], db); db.execute(delete(User).where(User.id == user_id))"
    ),
    "another table": "db.get(User, user_id).email = 'x@example.org'",
    "a statement that meets no row": "db.execute(update(Session).where(Session.id == user_id).values(title='x'))",
    "a temporary table of that name": (
        "raw('CREATE TEMP TABLE session (id int)'); raw('INSERT INTO session VALUES (1)'); raw('DROP TABLE session')"
    ),
}


@pytest.fixture
def service(models_path: Path, clock: TurnableClock) -> SessionService:
    return SessionService(ClientPool(load_catalog(models_path), ""), RULES, clock)


@pytest.fixture
def user_id(any_database: Database) -> UUID:
    return new_user(any_database)


@pytest.fixture
def session_id(any_database: Database, service: SessionService, user_id: UUID) -> UUID:
    with any_database.writing() as db:
        return service.create_session(db, user_id).id


@pytest.fixture
def run(
    any_database: Database, service: SessionService, user_id: UUID, session_id: UUID
) -> Callable[[str, str], None]:
    """Runs Python statements in a transaction, as a function of the module at this path."""

    def run(code: str, path: str) -> None:
        schema = "main" if any_database.engine.dialect.name == "sqlite" else "public"
        with any_database.writing() as db:
            _function(code, path)(db, session_id, user_id, service, schema)

    return run


def _function(code: str, path: str) -> Callable[..., None]:
    names: dict[str, Any] = {}
    exec(compile(PRELUDE.format(code), ROOT / path, "exec"), names)
    function: Callable[..., None] = names["act"]
    return function


@pytest.mark.parametrize("way", WAYS)
def test_a_write_by_other_code_is_found(run: Callable[[str, str], None], sole_writer: SoleWriter, way: str) -> None:
    run(WAYS[way], ELSEWHERE)
    violations = sole_writer.take_violations()
    assert violations
    assert all(each.startswith((ELSEWHERE, WRITER)) for each in violations)


@pytest.mark.parametrize(
    ("way", "any_database_url"),
    [*((way, "sqlite") for way in SQLITE_WAYS), *((way, "postgresql") for way in POSTGRES_WAYS)],
    indirect=["any_database_url"],
)
def test_a_write_in_one_database_s_own_words_is_found(
    run: Callable[[str, str], None], sole_writer: SoleWriter, way: str
) -> None:
    run({**SQLITE_WAYS, **POSTGRES_WAYS}[way], ELSEWHERE)
    assert sole_writer.take_violations()


def test_a_violation_names_the_way_to_it(run: Callable[[str, str], None], sole_writer: SoleWriter) -> None:
    run(WAYS["update()"], ELSEWHERE)
    (violation,) = sole_writer.take_violations()
    here = r"tests/core/sessions/test_sole_writer\.py:\d+"
    assert re.fullmatch(rf"{ELSEWHERE}:8 act < {here} run < {here} test_a_violation\w+: UPDATE", violation)


def test_a_write_over_a_connection_of_its_own_is_found(
    any_database: Database, session_id: UUID, sole_writer: SoleWriter
) -> None:
    code = "own = db.raw_connection(); own.cursor().execute('DELETE FROM session'); own.commit(); own.close()"
    _function(code, ELSEWHERE)(any_database.engine, session_id, None, None, None)
    assert sole_writer.take_violations()


def test_a_write_before_the_database_had_tables_is_no_blind_spot(tmp_path: Path, sole_writer: SoleWriter) -> None:
    """The connection was opened before there was a table to watch."""
    database = Database(url := f"sqlite:///{tmp_path / 'new.db'}")
    database.ping()
    migrate(url)
    insert = (
        "INSERT INTO session (id, secret_hash, last_model, version, created_at, expires_at, ends_at)"
        " VALUES ('x', 'x', 'm', 1, 0, 0, 0)"
    )
    with database.writing() as db:
        _function(f'raw("{insert}")', ELSEWHERE)(db, None, None, None, None)
    database.dispose()
    assert sole_writer.take_violations()


def test_a_write_by_a_thread_without_code_of_ours_is_found(
    any_database: Database, session_id: UUID, sole_writer: SoleWriter
) -> None:
    with any_database.engine.connect() as connection:
        thread = threading.Thread(target=connection.exec_driver_sql, args=["DELETE FROM session"])
        thread.start()
        thread.join()
    assert sole_writer.take_violations() == ["nobody of ours: DELETE"]


def test_a_write_by_another_process_is_found(
    any_database_url: str, session_id: UUID, sole_writer: SoleWriter
) -> None:
    """It is a worker's, or a web server's, that the tests start."""
    act = "with Database(url).writing() as db: db.connection().exec_driver_sql('DELETE FROM session')"
    program = f"""
import sys
from core.stores.database import Database
url = sys.argv[1]
exec(compile({act!r}, {str(ROOT / ELSEWHERE)!r}, "exec"))
"""
    subprocess.run([sys.executable, "-c", program, any_database_url], check=True)
    assert sole_writer.take_violations() == [f"{ELSEWHERE}:1 <module>: DELETE"]


@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_other_code_may_do_is_not_held_against_it(
    run: Callable[[str, str], None], sole_writer: SoleWriter, harmless: str
) -> None:
    run(HARMLESS[harmless], ELSEWHERE)
    assert sole_writer.take_violations() == []


@pytest.mark.parametrize("way", WAYS)
def test_a_test_may_write(run: Callable[[str, str], None], sole_writer: SoleWriter, way: str) -> None:
    run(WAYS[way], "tests/elsewhere.py")
    # But it can't leave its writing to the service.
    assert bool(sole_writer.take_violations()) == ("by the service" in way)


def test_all_that_the_service_does_is_its_own(
    any_database: Database, service: SessionService, user_id: UUID, session_id: UUID, sole_writer: SoleWriter
) -> None:
    with any_database.writing() as db:
        service.switch_model(session_id, "good", db, user_id)
        service.change_settings(session_id, {"title": "x"}, db)
        service.untitle_session(session_id, db)
        guest = service.create_session(db, secret_hash=b"x" * 32)
        service.claim_session(guest.id, db, user_id, secret_hash=b"x" * 32)
        service.delete_sessions([session_id, guest.id], db)
    assert sole_writer.take_violations() == []


NOT_READ = (WRITER, *PLUMBING, "core/stores/tables.py")
"""The tables have conditions of indexes as text."""


def _others() -> Iterator[str]:
    for room in ("core", "web", "workers", "cli"):
        paths = (path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*.py"))
        yield from (path for path in paths if path not in NOT_READ and not path.startswith(MIGRATIONS))


def test_no_other_module_has_a_statement_that_writes_sessions() -> None:
    found = {path: _statements((ROOT / path).read_text()) for path in _others()}
    assert {path: statements for path, statements in found.items() if statements} == {}
    assert len(found) > 100


@pytest.mark.parametrize(
    "code",
    [
        "from core.stores.tables import Session\nupdate(Session).values(title='')",
        "from core.stores.tables import Session as Row\nsqlalchemy.delete(Row.__table__)",
        "from core.stores import tables\ninsert(tables.Session)",
        "from core.stores import tables as t\nt.Session(id=1)",
        "from sqlalchemy import text",
        "import sqlalchemy as sa\nsa.text('x')",
        "db.connection().exec_driver_sql('x')",
        "engine.raw_connection()",
        "import sqlite3",
        "from psycopg import sql",
        "from core.stores.tables import Session\nSession.__table__.update()",
        "from core.stores.tables import Session\ndb.query(Session).filter_by(id=1).update({})",
        "from core.sessions.queries import Session\nupdate(Session)",
        "from core.sessions import queries\ndelete(queries.Session)",
        "update(type(row))",
        "from sqlalchemy import event",
        "sqlalchemy.event.listen(db, 'do_orm_execute', hook)",
        "engine.dialect.connect()",
        "engine.dialect.create_connect_args(url)",
        "func.set_config('client_min_messages', 'error', True)",
        "from core.sessions.service import _update",
    ],
)
def test_a_statement_is_found_in_a_module(code: str) -> None:
    assert len(_statements(code)) == 1


RAW = {"exec_driver_sql", "raw_connection", "driver_connection", "create_connect_args", "set_config"}
WORDS = {"text", "event"}
"""SQL as text, and hooks that may change the service's own statements."""
ROWS = {("core.stores", "tables"), ("core.sessions", "queries")}
"""The modules that have the table's class."""
DRIVERS = {"sqlite3", "psycopg"}


def _statements(code: str) -> list[str]:
    """What a module has that writes the session table or makes a row of it, and whatever speaks raw SQL: that is for
    the plumbing alone, so nobody has to read it."""
    nodes = list(ast.walk(ast.parse(code)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    aliases = [(node.module, alias.name, alias.asname or alias.name) for node in imports for alias in node.names]
    modules = [here for module, name, here in aliases if (module, name) in ROWS]
    homes = {".".join(each) for each in ROWS}
    rows = {here for module, name, here in aliases if module in homes and name == Session.__name__}
    rows |= {f"{module}.{Session.__name__}" for module in modules}
    tables = rows | {f"{row}.__table__" for row in rows}

    def writes(node: ast.AST) -> bool:
        match node:
            case ast.Import(names=names):
                return any(alias.name.partition(".")[0] in DRIVERS for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                raw = module.startswith("sqlalchemy") and any(alias.name in WORDS for alias in names)
                borrowed = module == "core.sessions.service" and any(alias.name.startswith("_") for alias in names)
                return raw or borrowed or module.partition(".")[0] in DRIVERS
            case ast.Attribute(value=value, attr=name):
                connects = name == "connect" and ast.unparse(value).endswith("dialect")
                return name in RAW or connects or (name in WORDS and ast.unparse(value) in ("sa", "sqlalchemy"))
            case ast.Call(func=func, args=arguments):
                called = ast.unparse(func)
                statement = called.rpartition(".")[2] in {"insert", "update", "delete"}
                if isinstance(func, ast.Attribute):  # what the method is called on: a table, or a query of one
                    queried = [each for each in ast.walk(func.value) if isinstance(each, ast.Call)]
                    arguments = [*arguments, func.value, *(each for call in queried for each in call.args)]
                met = {ast.unparse(each) for each in arguments}
                return called in rows or (
                    statement and any(each in tables or each.startswith("type(") for each in met)
                )
        return False

    return [ast.unparse(node) for node in nodes if writes(node)]
