"""Places in a log: values only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from core.conversation.position import TERMINAL_SEQ, Position, Producer


@pytest.mark.parametrize(
    "text", ["", "-", "abc", "abc-", "-1", "abc--1", "abc-1.5", "a b-1", "é-1", "abc-\u0661", "a" * 50 + "-1"]
)
def test_what_is_no_position_is_none(text: str) -> None:
    assert Position.parse(text) is None


@given(offset=st.integers(min_value=0, max_value=2**53))
def test_a_position_survives_its_wire_form(offset: int) -> None:
    assert Position.parse(str(Position("a1b2c3d4", offset))) == Position("a1b2c3d4", offset)


@given(st.integers(min_value=0, max_value=10**6), st.integers(min_value=1, max_value=1000))
def test_a_position_further_in_front_is_a_later_event_and_the_end_is_the_last(front: int, further: int) -> None:
    generation_id = uuid7()
    back, moved = Producer.queued(generation_id, front + further), Producer.queued(generation_id, front)
    assert 0 < back.seq < moved.seq < TERMINAL_SEQ == Producer.terminal(generation_id, 1).seq
