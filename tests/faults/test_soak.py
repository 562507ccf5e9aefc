"""A short form of bench/soak.py: each part is restarted once, while guests come and go."""

import pytest

from bench.soak import soak


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_told_twice_while_each_part_is_restarted_in_turn() -> None:
    assert soak(seconds=0.0, visitors=4, every=1.0, capacity=3.0) == []
