"""`switchboard usage` and `switchboard users`."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from core.auth.accounts import User
from core.operations.audit import Kind
from core.runtime import Runtime
from core.stores.tables import Session
from tests.cli.test_commands import refused, switchboard
from tests.cli.test_invariants import _environment
from tests.core.generation.asking import ask


@pytest.fixture
def owner(runtime: Runtime) -> User:
    """Somebody who has had an answer, beside a guest who has and a user who has not."""
    asked = ask(runtime, "good", owned=True)
    asked.write().join(20)
    ask(runtime, "good").write().join(20)
    runtime.accounts.register(f"{uuid7()}@example.org", "correct horse battery")
    runtime.tally.count_ended()
    assert asked.session.owner_id is not None
    return runtime.users.find(str(asked.session.owner_id))


def _lines(runtime: Runtime, tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    result = switchboard(tmp_path, *arguments, "--json", **_environment(runtime.settings))
    assert result.returncode == 0, result
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("by", ["day", "model", "user"])
def test_usage_is_shown_by_each_thing(runtime: Runtime, tmp_path: Path, owner: User, by: str) -> None:
    (line,) = _lines(runtime, tmp_path, "usage", "--by", by, "--user", owner.email or "")
    names = {"day": runtime.clock.now().date().isoformat(), "model": "good", "user": str(owner.id)}
    assert line.pop(by) == names[by]
    assert line.pop("email", owner.email) == owner.email
    assert line == {"answers": 1, "prompt_tokens": 7, "completion_tokens": 11, "cost": "0.000036"}


def test_users_are_listed_a_page_at_a_time(runtime: Runtime, tmp_path: Path, owner: User) -> None:
    shown = switchboard(tmp_path, "users", "list", "-n", "1", **_environment(runtime.settings)).stdout.splitlines()
    newest = shown[1].split()[0]
    assert newest != str(owner.id)
    assert shown[-1] == f"and more: switchboard users list --after {newest}"
    (line,) = _lines(runtime, tmp_path, "users", "list", "--after", newest)
    assert (line["email"], line["sessions"], line["tokens"], line["cost"]) == (owner.email, 1, 18, "0.000036")


def test_limits_are_given_and_taken_back(runtime: Runtime, tmp_path: Path, owner: User) -> None:
    def limits(*options: str) -> Any:
        return switchboard(tmp_path, "users", "limits", str(owner.id), *options, **_environment(runtime.settings))

    assert limits("--cost", "2.50/d", "--concurrent", "5").stdout == f"{owner.id} has concurrent=5 cost=2.50/d\n"
    assert limits("--cost", "default").stdout == f"{owner.id} has concurrent=5\n"
    assert refused(limits("--cost", "2.50")).startswith("switchboard: --cost: '2.50' is not a budget; write AMOUNT")
    (first, _) = runtime.audit.read(kind=Kind.LIMITS_CHANGED)
    assert (first.user_id, first.detail) == (owner.id, "concurrent=5 cost=2.50/d")


def test_a_closed_account_is_gone_with_all_that_hung_on_it(runtime: Runtime, tmp_path: Path, owner: User) -> None:
    environment = _environment(runtime.settings)
    unasked = switchboard(tmp_path, "users", "close", owner.email or "", **environment)
    assert (unasked.returncode, "Aborted" in unasked.stderr) == (1, True)
    closed = switchboard(tmp_path, "users", "close", owner.email or "", "--yes", **environment)
    assert closed.stdout == f"{owner.id} is closed\n"
    with runtime.database.reading() as db:
        assert db.scalars(select(Session.owner_id)).all() == [None]  # the guest's
    assert runtime.usage.totals(runtime.usage.last(1), "user", None, 10) == []
    (event,) = runtime.audit.read(kind=Kind.ACCOUNT_CLOSED)
    assert event.user_id == owner.id
    again = switchboard(tmp_path, "users", "close", owner.email or "", "--yes", **environment)
    assert "no user has the id or the e-mail address" in refused(again)


def test_an_unknown_user_is_named(runtime: Runtime, tmp_path: Path) -> None:
    result = switchboard(tmp_path, "usage", "--user", str(UUID(int=1)), **_environment(runtime.settings))
    assert str(UUID(int=1)) in refused(result)
