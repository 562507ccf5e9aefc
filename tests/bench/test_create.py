"""A small run of bench/create.py: every answer has its row, for one caller and for many."""

import pytest

from bench.create import measure, servers


@pytest.mark.slow
def test_every_session_that_is_answered_with_201_has_its_row() -> None:
    with servers() as (switchboard, baseline, database):
        for callers in (1, 16):
            for seen in measure((switchboard, baseline), database, callers, rounds=1, seconds=0.5):
                assert seen.rate > 0
                assert 0 < seen.p50 <= seen.p99
