"""A tiny run of bench/sweep.py, which fails by itself when a session or a key is left, or a living one is missing."""

import pytest

from bench.sweep import Size, on_postgresql, on_sqlite


@pytest.mark.slow
def test_all_that_has_expired_is_swept_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    on_postgresql(Size(rows=4000, expired=1500, calm=0.5))
    on_sqlite(700)
    printed = capsys.readouterr().out
    assert printed.startswith("PostgreSQL: 1,500 of 4,000 sessions have expired, 1,500 of them have keys")
    assert "SQLite: 700 of 1,400 sessions have expired" in printed
