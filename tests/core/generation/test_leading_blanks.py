"""The blanks before an answer's first word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.generation.leading_blanks import MAX_LEADING_BLANKS, LeadingBlanks
from core.text.characters import blank

BLANKS = [
    " ",
    "\n",
    "\r\n\t",
    "\u00a0",
    "\u2003\u2028\u2029",
    "\u200b",
    "\ufeff",
    "\u200d\u2060",
    "\x00\x07",
    "\u202e",
    "\u3164",
    "\uffa0\u115f\u1160",
    "\u2800",
    "\u034f\ufe0f\U000e0100",
    "\U000e0041",
]


@pytest.mark.parametrize("text", ["", *BLANKS, "".join(BLANKS)])
def test_what_can_not_be_seen_is_blank(text: str) -> None:
    assert blank(text)


@pytest.mark.parametrize("text", [".", " x", "\u200b。", "🤷🏽‍♀️", "\U0001fae9", "\ue000", "\ufffd", "ـ", "़"])
def test_what_can_be_seen_is_not(text: str) -> None:
    assert not blank(text)


@given(st.lists(st.text(st.sampled_from([*"".join(BLANKS), "a", "é", "🎉"]), max_size=4), max_size=12))
def test_from_the_first_word_on_all_is_passed_on_and_before_it_nothing(pieces: list[str]) -> None:
    blanks = LeadingBlanks(begun=False)
    passed = ""
    for at, piece in enumerate(pieces):
        passed += blanks.feed(piece)
        whole = "".join(pieces[: at + 1])
        assert passed == ("" if blank(whole) else whole)


def test_an_answer_that_has_begun_loses_nothing() -> None:
    assert LeadingBlanks(begun=True).feed(" \n") == " \n"


def test_blanks_without_end_are_not_waited_for() -> None:
    blanks = LeadingBlanks(begun=False)
    for _ in range(MAX_LEADING_BLANKS):
        assert blanks.feed("\n") == ""
    assert not blanks.too_long
    blanks.feed("\n")
    assert blanks.too_long
    in_one_piece_with_the_word = " " * (2 * MAX_LEADING_BLANKS) + "x"
    assert LeadingBlanks(begun=False).feed(in_one_piece_with_the_word).endswith("x")
