"""What people and operators are told while the database is not migrated."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from core.runtime import Runtime
from core.settings import Settings
from core.stores.revisions import known_revisions
from tests.core.stores.test_revisions import stamp
from tests.support.postgres import Postgres
from web.app import create_app
from web.context import context_of

KEY = {"Authorization": "Bearer sk_" + "0" * 40}


def _app(settings: Settings, url: str) -> Iterator[Flask]:
    runtime = Runtime(settings.model_copy(update={"configured_database_url": url}), redis_retries=0)
    app = create_app(runtime)
    yield app
    context_of(app).hub.close()
    runtime.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, settings: Settings, postgres: Postgres, tmp_path: Path) -> Iterator[Flask]:
    """The application over a database without a table."""
    url = postgres.create_empty() if request.param == "postgresql" else f"sqlite:///{tmp_path / 'empty.db'}"
    yield from _app(settings, url)


def test_readiness_names_it(app: Flask) -> None:
    assert "database, which is not migrated" in app.test_client().get("/readyz").get_json(force=True)["missing"]


def test_a_migration_that_lacks_only_the_last_step_is_named(settings: Settings, database_url: str) -> None:
    stamp(database_url, known_revisions()[-2])
    for app in _app(settings, database_url):
        missing = app.test_client().get("/readyz").get_json(force=True)["missing"]
        assert "database, which is not migrated" in missing


def test_requests_are_put_off_and_the_log_says_what_to_do(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        response = app.test_client().post("/auth/login", json={"email": "ada@example.org", "password": "x" * 20})
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"
    assert response.get_json(force=True)["detail"] == "The database is not ready; try again in a moment."
    assert "run: switchboard migrate" in caplog.text
    assert "Traceback" not in caplog.text
