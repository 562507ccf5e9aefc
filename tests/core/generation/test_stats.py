"""Counting what is live costs what is live, and not what has ever been."""

from datetime import timedelta
from typing import Any

from sqlalchemy import event
from uuid_utils.compat import uuid7

from core.clock import SystemClock
from core.generation.stats import Live, Load
from core.stores.database import Database
from core.stores.tables import Generation, GenerationState, Session
from tests.conftest import TurnableClock


def _generation(database: Database, clock: TurnableClock, state: GenerationState, age: timedelta) -> None:
    at = clock.now() - age
    session = Session(
        id=uuid7(), secret_hash=bytes(32), last_model="good", created_at=at, expires_at=at, ends_at=clock.now()
    )
    generation = Generation(
        id=uuid7(), session_id=session.id, model="good", state=state, lease_until=at, created_at=at, turn=at
    )
    with database.writing() as db:
        db.add(session)
        db.flush()
        db.add(generation)


def test_what_is_live_is_counted(any_database: Database, clock: TurnableClock) -> None:
    load = Load(any_database, clock)
    assert load.live() == Live(0, 0, timedelta())
    for state in GenerationState:
        for minutes in (1, 2, 3):
            _generation(any_database, clock, state, timedelta(minutes=minutes))
    assert load.live() == Live(3, 3, timedelta(minutes=3))
    clock.turn(timedelta(hours=-1))  # another server's clock is ahead
    assert load.live().oldest_queued == timedelta()


def test_sqlite_reads_the_live_ones_alone(database_url: str) -> None:
    database = Database(database_url)
    statements: list[tuple[str, Any]] = []
    event.listen(
        database.engine, "before_cursor_execute", lambda *call: statements.append((call[2], call[3])), named=False
    )
    Load(database, SystemClock()).live()
    (asked,) = [(statement, given) for statement, given in statements if "count" in statement]
    with database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[0]}", asked[1]).all()
    database.dispose()
    scans = [step[3] for step in plan if "generation" in step[3]]
    assert len(scans) == 1
    assert "USING INDEX ix_generation_lease" in scans[0]
