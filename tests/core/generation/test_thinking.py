"""What a model says to itself, and for how long: values and moments only."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.conversation.message import whole_seconds
from core.generation.draft import Draft
from core.generation.thinking import MAX_THINKING_LENGTH, Thinking, ThinkingClock


def test_it_lasts_from_its_first_word_to_the_first_word_of_the_answer() -> None:
    clock = ThinkingClock(Thinking())
    clock.note(False, False, 5)
    clock.note(True, False, 10)
    clock.note(False, False, 60)
    clock.note(True, False, 70)
    assert clock.milliseconds == 60_000, "so far: up to its latest word"
    clock.note(False, True, 85)
    clock.note(False, True, 500)
    assert Thinking("Hmm", clock.milliseconds).seconds == 75


def test_its_phases_add_up() -> None:
    clock = ThinkingClock(Thinking("Hmm"))
    for start in (0.0, 100.0, 200.0):
        clock.note(True, False, start)
        clock.note(False, True, start + 1.5)
    assert clock.milliseconds == 4500


def test_requests_add_up() -> None:
    clock = ThinkingClock(Thinking("Hmm", 4500))
    assert clock.milliseconds == 4500
    clock.note(True, False, 7)
    clock.note(False, True, 8)
    assert clock.milliseconds == 5500


def test_what_comes_in_one_piece_with_the_answer_took_no_time_but_counts_as_a_second() -> None:
    assert Thinking().seconds is None
    clock = ThinkingClock(Thinking())
    clock.note(True, True, 3)
    thinking = Thinking("Hmm", clock.milliseconds)
    assert (thinking.milliseconds, thinking.seconds) == (0, 1)


def test_thinking_that_begins_again_has_only_the_second_time() -> None:
    draft = Draft()
    draft.add_thinking("all of before", 9000)
    draft.begin_request()
    clock = ThinkingClock(draft.thinking)
    clock.note(False, False, 1)
    assert (draft.thinking.text, draft.thinking.seconds) == ("all of before", 9), "until the first new word"
    clock.note(True, False, 2)
    draft.add_thinking("anew", clock.milliseconds)
    clock.note(False, True, 4)
    draft.add_text("So.", clock.milliseconds)
    assert (draft.thinking.text, draft.thinking.seconds) == ("anew", 2)


@pytest.mark.parametrize(("milliseconds", "seconds"), [(0, 1), (400, 1), (1499, 1), (1501, 2), (75_000, 75)])
def test_people_are_told_whole_seconds(milliseconds: int, seconds: int) -> None:
    assert whole_seconds("Hmm", milliseconds) == seconds
    assert whole_seconds("", milliseconds) is None


def test_its_room_is_full_again_when_it_begins_again() -> None:
    thinking = Thinking("x" * (MAX_THINKING_LENGTH - 1))
    assert thinking.room == 1
    assert replace(thinking, stale=True).room == MAX_THINKING_LENGTH


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 50)), max_size=30))
def test_its_time_never_shrinks_and_never_exceeds_the_clock(steps: list[tuple[bool, bool, int]]) -> None:
    clock = ThinkingClock(Thinking())
    now, before = 0, 0
    for thought, said, passed in steps:
        now += passed
        clock.note(thought, said, now)
        assert before <= clock.milliseconds <= 1000 * now
        before = clock.milliseconds
