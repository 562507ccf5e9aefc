"""A small run of bench/create.py: every answer has its row, for one caller and for many."""

import pytest
from uuid_utils.compat import uuid7

from bench.create import BARE, BASELINE, SWITCHBOARD, Round, check, measure, servers
from core.runtime import Runtime


@pytest.mark.slow
def test_every_session_that_is_answered_with_201_has_its_row() -> None:
    with servers() as (compared, database):
        for callers in (1, 16):
            seen = measure(compared, database, callers, rounds=1, seconds=0.5)
            assert list(seen) == [SWITCHBOARD, BASELINE, BARE]
            for figures in seen.values():
                assert figures.rate > 0
                assert 0 < figures.p50 <= figures.p99


def test_sessions_without_a_row_are_counted(runtime: Runtime) -> None:
    seen = Round(1.0, [0.1] * 3, [uuid7() for _ in range(3)], failed=2, worked=0.1)
    with pytest.raises(SystemExit, match="2 requests were not answered with 201, 3 that were have no row"):
        check(seen, runtime.database)
