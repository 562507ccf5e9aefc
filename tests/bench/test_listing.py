"""The list and the search are whole with many sessions: a small run of bench/listing.py."""

import statistics

import pytest

from bench.listing import measure
from tests.support.postgres import Postgres


@pytest.mark.slow
def test_list_and_search_are_whole_and_no_slower_with_many_sessions(own_postgres: Postgres) -> None:
    for name, many, few in measure(own_postgres, sessions=300, rounds=5):
        # A page of 50 against one of 10, and what is searched through: a list that reads every session takes more.
        assert statistics.median(many) < 12 * statistics.median(few) + 20, name
