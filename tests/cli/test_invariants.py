"""`switchboard invariants`: what it prints and how it ends."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from core.limits.rate_limit import PREFIX
from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import Generation
from tests.cli.test_commands import refused, switchboard


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SWITCHBOARD_MODELS": str(settings.models_path),
    }


def test_it_says_what_holds_and_what_is_broken(tmp_path: Path, runtime: Runtime) -> None:
    result = switchboard(tmp_path, "invariants", **_environment(runtime.settings))
    assert (result.returncode, result.stdout.count("✓"), result.stderr) == (0, 10, "")

    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(db, secret_hash=bytes(32), model="good")
    generation_id = runtime.generations.accept(session, "Why?").generation_id
    with runtime.database.writing() as db:
        db.get_one(Generation, generation_id).lease_until = datetime.now(UTC) - timedelta(minutes=1)

    result = switchboard(tmp_path, "invariants", **_environment(runtime.settings))
    assert refused(result) == "switchboard: 1 invariant is broken\n"
    assert result.stdout.count("✓") == 9
    assert f"\n             {generation_id}\n" in "\n" + result.stdout


def test_a_store_that_is_away_is_said_to_be(tmp_path: Path, settings: Settings) -> None:
    away = {**_environment(settings), "REDIS_URL": "redis://127.0.0.1:1/0"}
    assert "Redis at redis://127.0.0.1:1/0 can't be read" in refused(switchboard(tmp_path, "invariants", **away))


def test_what_could_not_be_checked_is_no_good_news(tmp_path: Path, runtime: Runtime) -> None:
    damaged = f"{PREFIX}slots:some"
    runtime.redis.set(damaged, "no sorted set")
    result = switchboard(tmp_path, "invariants", **_environment(runtime.settings))
    assert result.returncode == 1
    assert result.stderr.endswith("switchboard: 1 could not be checked\n")
    assert f"✗ {damaged} could not be checked\n" in result.stdout
    runtime.redis.delete(damaged)
    with runtime.database.writing() as db:
        db.execute(text("DROP TABLE waiting"))
    result = switchboard(tmp_path, "invariants", **_environment(runtime.settings))
    assert result.stderr.endswith("switchboard: 1 could not be checked\n")
    assert "✗ promoted   could not be checked\n" in result.stdout
