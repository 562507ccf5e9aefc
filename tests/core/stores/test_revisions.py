"""Which revision a database has, and what this version may do with it."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import core.migrations
from core.migrations.runner import ForeignRevision, migrate
from core.stores.revisions import Schema, current_revision, known_revisions, newest_revision

KNOWN = ("0001", "0012", "0025")


def stamp(url: str, revision: str) -> None:
    """Have the database say that it is at this revision."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()


def test_the_files_names_are_alembics_revisions() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(core.migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert set(known_revisions()) == {script.revision for script in scripts.walk_revisions()}
    assert newest_revision() == scripts.get_current_head()


@pytest.mark.parametrize(
    ("revision", "older", "newer", "foreign"),
    [
        (None, True, False, False),
        ("0012", True, False, False),
        ("0025", False, False, False),
        ("0026", False, True, False),
        ("0013", False, False, True),
        ("ae1027a6acf", False, False, True),
    ],
)
def test_a_revision_is_older_newer_or_another_programs(
    revision: str | None, older: bool, newer: bool, foreign: bool
) -> None:
    schema = Schema(revision, KNOWN)
    assert (schema.is_older, schema.is_newer, schema.is_foreign) == (older, newer, foreign)


def test_what_a_newer_version_has_migrated_is_left_as_it_is(any_database_url: str) -> None:
    stamp(any_database_url, "9999")
    assert migrate(any_database_url) == ("9999", "9999")
    assert current_revision(any_database_url) == "9999"


def test_what_another_program_has_migrated_is_refused(any_database_url: str) -> None:
    stamp(any_database_url, "ae1027a6acf")
    with pytest.raises(ForeignRevision, match="ae1027a6acf"):
        migrate(any_database_url)
    assert current_revision(any_database_url) == "ae1027a6acf"
    assert newest_revision() != "ae1027a6acf"
