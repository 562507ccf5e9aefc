"""Commands over a database of another version: older, newer, or another program's."""

from pathlib import Path

import pytest

from core.settings import Settings
from core.stores.revisions import known_revisions, newest_revision
from tests.cli.test_commands import refused, switchboard
from tests.core.stores.test_revisions import stamp
from tests.support.postgres import Postgres

COMMANDS = (("users", "list"), ("audit",), ("usage",), ("invariants",))


def _environment(settings: Settings, url: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "REDIS_URL": settings.redis_url}


def test_the_version_before_rolls_back(tmp_path: Path, any_database_url: str, settings: Settings) -> None:
    stamp(any_database_url, "9999")
    environment = _environment(settings, any_database_url)
    result = switchboard(tmp_path, "migrate", **environment)
    assert (result.returncode, result.stderr) == (0, "")
    newest = newest_revision()
    assert result.stdout == (
        f"database is at revision 9999, newer than this version's {newest}; it is left as it is\n"
    )
    told = switchboard(tmp_path, "doctor", **environment).stdout
    assert f"is at revision 9999, newer than this version's {newest}\n" in told
    assert "! database" in told
    assert switchboard(tmp_path, "users", "list", **environment).returncode == 0


def test_another_programs_database_is_refused_in_one_line(
    tmp_path: Path, any_database_url: str, settings: Settings
) -> None:
    stamp(any_database_url, "ae1027a6acf")
    environment = _environment(settings, any_database_url)
    for command in (("migrate",), *COMMANDS):
        assert "it is at revision ae1027a6acf, which no version of Switchboard has; name another" in refused(
            switchboard(tmp_path, *command, **environment)
        )
    told = switchboard(tmp_path, "doctor", **environment).stdout
    assert "is at revision ae1027a6acf, which no version of Switchboard has" in told


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_that_is_not_migrated_says_what_to_do(
    tmp_path: Path, command: tuple[str, ...], postgres: Postgres, database_url: str, settings: Settings
) -> None:
    newest, before = newest_revision(), known_revisions()[-2]
    empty = postgres.create_empty()
    for url, state in (
        (empty, f"it is empty, and not migrated to this version's revision {newest}"),
        (f"sqlite:///{tmp_path}/none.db", "there is no such file yet"),
    ):
        line = refused(switchboard(tmp_path, *command, **_environment(settings, url)))
        assert line.endswith(f": {state}; run: switchboard migrate\n")
    assert not (tmp_path / "none.db").exists()
    stamp(database_url, before)
    line = refused(switchboard(tmp_path, *command, **_environment(settings, database_url)))
    assert f"it is at revision {before}, and not migrated to this version's {newest}; run: switch" in line
