"""`switchboard audit`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from core.operations.audit import Audit, Kind
from core.stores.database import Database
from core.stores.tables import User
from tests.cli.test_commands import refused, switchboard
from tests.conftest import TurnableClock

USER = uuid7()


@pytest.fixture
def filled(database_url: str, clock: TurnableClock) -> str:
    """A database with an old failure, a login and a refusal."""
    database = Database(database_url)
    audit = Audit(database, clock)
    now = clock.now()
    clock.turn(timedelta(hours=-30))
    audit.record(Kind.LOGIN_FAILED)
    clock.moment = now - timedelta(minutes=5)
    audit.record(Kind.LOGIN, user_id=USER, detail="password")
    clock.moment = now - timedelta(minutes=4)
    audit.record(Kind.NOT_OWNER, user_id=USER, session_id=uuid4())
    database.dispose()
    return database_url


def _kinds(tmp_path: Path, url: str, *options: str) -> list[str]:
    result = switchboard(tmp_path, "audit", "--json", *options, DATABASE_URL=url)
    assert result.returncode == 0, result
    return [json.loads(line)["kind"] for line in result.stdout.splitlines()]


def test_events_are_printed_newest_last(tmp_path: Path, filled: str) -> None:
    lines = switchboard(tmp_path, "audit", DATABASE_URL=filled).stdout.splitlines()
    assert lines[0].split() == ["AT", "KIND", "USER", "SESSION", "DETAIL"]
    assert [line.split()[1] for line in lines[1:]] == ["login-failed", "login", "not-owner"]
    assert lines[2].split()[2:] == [str(USER), "-", "password"]


def test_json_is_one_object_a_line(tmp_path: Path, filled: str) -> None:
    result = switchboard(tmp_path, "audit", "--json", DATABASE_URL=filled)
    first = json.loads(result.stdout.splitlines()[0])
    assert first.pop("at").endswith("Z")
    assert first == {"kind": "login-failed", "user_id": None, "session_id": None, "detail": None}


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ((), ["login-failed", "login", "not-owner"]),
        (("--since", "24h"), ["login", "not-owner"]),
        (("--kind", "login"), ["login"]),
        (("--user", str(USER)), ["login", "not-owner"]),
        (("--user", str(USER), "--limit", "1"), ["not-owner"]),
        (("--user", str(uuid4())), []),
    ],
)
def test_options_narrow_it(tmp_path: Path, filled: str, options: tuple[str, ...], kinds: list[str]) -> None:
    assert _kinds(tmp_path, filled, *options) == kinds


def test_what_can_not_be_understood_is_said(tmp_path: Path, filled: str) -> None:
    assert "write a positive number" in refused(
        switchboard(tmp_path, "audit", "--since", "ever", DATABASE_URL=filled)
    )
    assert "no user has the id or the e-mail address 'ada'" in refused(
        switchboard(tmp_path, "audit", "--user", "ada", DATABASE_URL=filled)
    )


def test_a_kind_that_is_none_is_no_good_news(tmp_path: Path, filled: str) -> None:
    line = refused(switchboard(tmp_path, "audit", "--kind", "login-faild", DATABASE_URL=filled))
    assert "--kind: there is no 'login-faild'; did you mean login-failed? All are registered, login, " in line
    line = refused(switchboard(tmp_path, "audit", "--kind", "nonsense", DATABASE_URL=filled))
    assert "--kind: there is no 'nonsense'; there are registered, login, " in line
    assert switchboard(tmp_path, "audit", "--kind", "registered", DATABASE_URL=filled).stdout == "no such events\n"


def test_a_user_may_be_named_by_the_address(tmp_path: Path, filled: str) -> None:
    database = Database(filled)
    with database.writing() as db:
        db.add(User(id=USER, email="ada@example.org", created_at=datetime.now(UTC)))
    database.dispose()
    assert _kinds(tmp_path, filled, "--user", "ada@example.org") == ["login", "not-owner"]


def test_a_database_without_tables_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    assert "it is empty, and not migrated to this version's revision" in refused(
        switchboard(tmp_path, "audit", DATABASE_URL=f"sqlite:///{tmp_path / 'empty.db'}")
    )
