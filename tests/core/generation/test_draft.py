"""The draft of an answer: values only."""

from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from core.conversation.partial_answer import PartialAnswer, Size
from core.conversation.position import Producer
from core.generation.attempts import Attempt
from core.generation.draft import Draft
from core.generation.handovers import Handovers


def _attempt() -> Attempt:
    return Attempt(uuid7(), uuid7(), uuid7(), "good", 2, True, datetime.now(UTC), Handovers("good"))


@given(st.lists(st.text(), max_size=5))
def test_it_grows_by_what_is_added_and_knows_its_size_in_bytes(pieces: list[str]) -> None:
    draft = Draft()
    for piece in pieces:
        draft.add_text(piece, 0)
    assert draft.text == "".join(pieces)
    assert draft.partial.size == Size(len(draft.text.encode()), 0)
    assert draft.is_empty == (not draft.text)


def test_it_goes_on_from_what_another_attempt_has_left() -> None:
    draft = Draft()
    draft.restore(PartialAnswer("So", "Hmm", 1500))
    draft.add_text(".", 1500)
    assert draft.partial == PartialAnswer("So.", "Hmm", 1500)
    assert not draft.is_empty


def test_thinking_begins_again_with_a_request_until_the_answer_has_a_word() -> None:
    draft = Draft()
    draft.add_thinking("Hmm", 1000)
    draft.begin_request()
    assert draft.partial == PartialAnswer("", "Hmm", 1000), "until its next word"
    draft.add_thinking("Well", 500)
    assert draft.partial == PartialAnswer("", "Well", 500)
    draft.add_text("So", 700)
    draft.begin_request()
    draft.add_thinking(", then", 900)
    assert draft.partial == PartialAnswer("So", "Well, then", 900)


def test_thinking_that_is_dropped_is_gone() -> None:
    draft = Draft()
    draft.add_thinking("Hmm", 1000)
    draft.drop_thinking()
    assert (draft.partial, draft.thinking.seconds, draft.is_empty) == (PartialAnswer(), None, True)


@pytest.mark.parametrize("name", [field.name for field in fields(Attempt)])
def test_no_value_of_an_attempt_can_be_replaced(name: str) -> None:
    attempt = _attempt()
    with pytest.raises(FrozenInstanceError):
        setattr(attempt, name, None)


@pytest.mark.parametrize("name", ["text", "thinking", "partial"])
def test_a_draft_is_changed_by_its_own_methods_only(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Draft(), name, "")


def test_each_event_of_an_attempt_has_the_next_sequence_number() -> None:
    attempt = _attempt()
    producers = [attempt.next_producer() for _ in range(3)]
    assert producers == [Producer(attempt.generation_id, 2, seq) for seq in (1, 2, 3)]
