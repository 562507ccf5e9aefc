"""What a model says to itself, and for how long: values and moments only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.conversation.message import whole_seconds
from core.generation.thinking import MAX_THINKING_LENGTH, Thinking


def test_it_lasts_from_its_first_word_to_the_first_word_of_the_answer() -> None:
    thinking = Thinking()
    thinking.heard(False, False, 5)
    thinking.heard(True, False, 10)
    thinking.add("Hmm")
    thinking.heard(False, False, 60)
    thinking.heard(True, False, 70)
    assert thinking.seconds == 60, "so far: up to its latest word"
    thinking.heard(False, True, 85)
    thinking.heard(False, True, 500)
    assert thinking.seconds == 75


def test_its_phases_add_up() -> None:
    thinking = Thinking()
    thinking.add("Hmm")
    for start in (0.0, 100.0, 200.0):
        thinking.heard(True, False, start)
        thinking.heard(False, True, start + 1.5)
    assert thinking.milliseconds == 4500


def test_what_comes_in_one_piece_with_the_answer_took_no_time_but_counts_as_a_second() -> None:
    assert Thinking().seconds is None
    thinking = Thinking()
    thinking.heard(True, True, 3)
    thinking.add("Hmm")
    assert (thinking.milliseconds, thinking.seconds) == (0, 1)


def test_who_begins_again_has_only_the_second_time() -> None:
    thinking = Thinking("all of before", 9000, stale=True)
    thinking.heard(False, False, 1)
    assert (thinking.text, thinking.seconds) == ("all of before", 9), "until the first new word"
    thinking.heard(True, False, 2)
    thinking.add("anew")
    thinking.heard(False, True, 4)
    assert (thinking.text, thinking.seconds) == ("anew", 2)


def test_what_is_forgotten_is_gone() -> None:
    thinking = Thinking()
    thinking.heard(True, False, 2)
    thinking.add("anew")
    thinking.forget()
    thinking.heard(False, True, 99)
    assert (thinking.text, thinking.milliseconds, thinking.seconds) == ("", 0, None)


@pytest.mark.parametrize(("milliseconds", "seconds"), [(0, 1), (400, 1), (1499, 1), (1501, 2), (75_000, 75)])
def test_people_are_told_whole_seconds(milliseconds: int, seconds: int) -> None:
    assert whole_seconds("Hmm", milliseconds) == seconds
    assert whole_seconds("", milliseconds) is None


def test_its_room_is_full_again_when_it_begins_again() -> None:
    thinking = Thinking("x" * (MAX_THINKING_LENGTH - 1))
    assert thinking.room == 1
    thinking.begin_request(anew=True)
    assert thinking.room == MAX_THINKING_LENGTH


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 50)), max_size=30))
def test_it_never_shrinks_and_never_exceeds_the_clock(steps: list[tuple[bool, bool, int]]) -> None:
    thinking = Thinking()
    now, before = 0, 0
    for thought, said, passed in steps:
        now += passed
        thinking.heard(thought, said, now)
        assert before <= thinking.milliseconds <= 1000 * now
        before = thinking.milliseconds
