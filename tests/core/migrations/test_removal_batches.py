"""What was noted for many sessions at once is not lost with the table of these notes."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import core.migrations
from core.stores.tables import Removal

pytestmark = pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")


def test_each_removal_has_a_row_again_for_the_version_before(any_database_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(core.migrations.__file__).parent))
    config.attributes["url"] = any_database_url
    guests, owned, owner, answer = [uuid4() for _ in range(4)]
    noted = [
        [guests.hex, "expired", None, None, True],
        [owned.hex, "deleted", owner.hex, answer.hex, False],
    ]
    engine = sa.create_engine(any_database_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for removals in (json.dumps(noted), "what can't be read"):
            values = {"id": uuid4(), "removals": removals}
            connection.execute(
                sa.insert(sa.table("removal_batch", sa.column("id", sa.Uuid()), sa.column("removals"))), values
            )
    command.downgrade(config, "0025")
    columns = Removal.session_id, Removal.reason, Removal.owner_id, Removal.generation_id, Removal.listed
    with engine.connect() as connection:
        rows = connection.execute(sa.select(*columns)).all()
    assert {tuple(row) for row in rows} == {
        (guests, "expired", None, None, True),
        (owned, "deleted", owner, answer, False),
    }
