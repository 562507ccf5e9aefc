"""SessionService alone writes the session table: other code that does is found, whichever way it takes.

tests/conftest.py has every test watched; here the watch itself is tested, and code that no test runs is read.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.llm.catalog import load_catalog
from core.llm.client_pool import ClientPool
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import Session
from tests.conftest import TurnableClock, new_user
from tests.support.session_rules import RULES
from tests.support.sole_writer import PLUMBING, ROOT, WRITER, WRITES_SESSIONS, SoleWriter

ELSEWHERE = "core/generation/elsewhere.py"
PRELUDE = """
from sqlalchemy import delete, insert, select, text, update
from core.stores.tables import Session, User

def act(db, session_id, user_id, service):
    {}
"""

WAYS = {
    "an attribute": "db.get(Session, session_id).title = 'x'",
    "an attribute, flushed by the service": (
        "db.get(Session, session_id).title = 'x'; service.list_sessions(user_id, db)"
    ),
    "the unit of work": "db.delete(db.get(Session, session_id))",
    "a new row": (
        "old = db.get(Session, session_id); db.delete(old); db.flush(); db.add(Session(id=user_id,"
        " owner_id=user_id, last_model='m', version=1, created_at=old.created_at, expires_at=old.expires_at,"
        " ends_at=old.ends_at))"
    ),
    "update()": "db.execute(update(Session).values(title='x'))",
    "delete()": "db.execute(delete(Session).where(Session.id == session_id))",
    "insert()": "db.execute(insert(Session).from_select(['id'], select(Session.id).where(Session.id == user_id)))",
    "raw SQL": "db.execute(text('update  Session set title = NULL'))",
    "raw SQL of the driver": "db.connection().exec_driver_sql('/* x */ DELETE FROM \"session\"')",
    "SQL after WITH": "db.execute(text('WITH old AS (SELECT id FROM \"user\") DELETE FROM session'))",
    "a cascade from the account": "db.execute(delete(User).where(User.id == user_id))",
    "a cascade from the account's object": "db.delete(db.get(User, user_id))",
}
"""Python statements that write the table, as code elsewhere could."""

HARMLESS = {
    "reading": "list(db.scalars(select(Session)))",
    "a lock": "db.get(Session, session_id, with_for_update=True)",
    "the service": "service.extend_session(session_id, db)",
    "an attribute that stays as it is": "row = db.get(Session, session_id); row.title = row.title",
    "an account without sessions": (
        "service.delete_sessions([session_id], db); db.execute(delete(User).where(User.id == user_id))"
    ),
    "another table": "db.get(User, user_id).email = 'x@example.org'",
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
        names: dict[str, Any] = {}
        exec(compile(PRELUDE.format(code), ROOT / path, "exec"), names)
        with any_database.writing() as db:
            names["act"](db, session_id, user_id, service)
            db.flush()

    return run


@pytest.mark.parametrize("way", WAYS)
def test_a_write_by_other_code_is_found(run: Callable[[str, str], None], sole_writer: SoleWriter, way: str) -> None:
    run(f"{WAYS[way]}; db.flush()", ELSEWHERE)
    violations = sole_writer.take_violations()
    assert violations
    assert all(each.startswith((ELSEWHERE, WRITER)) for each in violations)


@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_other_code_may_do_is_not_held_against_it(run: Callable[[str, str], None], harmless: str) -> None:
    run(f"{HARMLESS[harmless]}; db.flush()", ELSEWHERE)


@pytest.mark.parametrize(
    "way",
    ["an attribute", "an attribute, flushed by the service", "raw SQL", "a cascade from the account"],
)
def test_a_test_may_write(run: Callable[[str, str], None], sole_writer: SoleWriter, way: str) -> None:
    run(f"{WAYS[way]}; db.flush()", "tests/elsewhere.py")
    # But it can't leave its writing to the service.
    assert bool(sole_writer.take_violations()) == ("by the service" in way)


def _others() -> Iterator[str]:
    for room in ("core", "web", "workers", "cli"):
        paths = (path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*.py"))
        yield from (path for path in paths if path != WRITER and not path.startswith(PLUMBING))


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
        "SQL = 'UPDATE session SET title = NULL'",
        "f'DELETE FROM session WHERE id = {x}'",
    ],
)
def test_a_statement_is_found_in_a_module(code: str) -> None:
    assert len(_statements(code)) == 1


def _statements(code: str) -> list[str]:
    """The expressions in a module that write the session table, or make a row of it."""
    tree = ast.parse(code)
    rows = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "core.stores.tables"
        for alias in node.names
        if alias.name == Session.__name__
    }
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "core.stores"
        for alias in node.names
        if alias.name == "tables"
    }
    rows |= {f"{module}.{Session.__name__}" for module in modules}
    tables = rows | {f"{row}.__table__" for row in rows}

    def writes(node: ast.AST) -> bool:
        if isinstance(node, ast.Constant):
            return isinstance(node.value, str) and WRITES_SESSIONS.search(node.value) is not None
        if not isinstance(node, ast.Call):
            return False
        called = ast.unparse(node.func)
        statement = called.rpartition(".")[2] in {"insert", "update", "delete"}
        return called in rows or (statement and any(ast.unparse(each) in tables for each in node.args))

    return [ast.unparse(node) for node in ast.walk(tree) if writes(node)]
