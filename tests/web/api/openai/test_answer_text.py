"""An answer's words are told once, also when a restored log tells them again."""

import pytest

from web.api.openai.answer_text import AnswerText
from web.streaming.answer_reader import AnswerInterrupted


def test_words_that_come_again_are_not_told_again() -> None:
    answer = AnswerText()
    assert answer.take("delta", {"at": 0, "text": "One "}).text == "One "
    assert answer.take("delta", {"at": 0, "text": "One two "}).text == "two "
    assert answer.take("delta", {"at": 2, "text": "e "}).text == ""
    assert answer.take("delta", {"at": 8, "text": "three"}).text == "three"
    with pytest.raises(AnswerInterrupted):
        answer.take("delta", {"at": 14, "text": "five"})
    assert answer.take("queued", {"position": 3}) == ("", "")


def test_thinking_that_begins_again_follows_what_was_told() -> None:
    answer = AnswerText()
    assert answer.take("thinking", {"at": 0, "text": "Hm"}).thinking == "Hm"
    assert answer.take("thinking", {"at": 0, "text": "Hmm."}).thinking == "m."
    assert answer.take("thinking", {"at": 0, "text": "Well."}).thinking == "Well."
    assert answer.thinking == "Well."
