from hypothesis import given
from hypothesis import strategies as st

from core.answers.history import estimate_tokens, fit
from core.message import Message


def _message(role: str, text: str) -> Message:
    return Message("id", role, text, None, "complete", "")  # type: ignore[arg-type]


def _conversation(*texts: str) -> list[Message]:
    return [_message("user" if index % 2 == 0 else "assistant", text) for index, text in enumerate(texts)]


conversations = st.lists(st.text(max_size=60), min_size=1, max_size=20).map(lambda texts: _conversation(*texts, "?"))


def test_a_short_conversation_goes_whole() -> None:
    turns = fit("Be kind.", _conversation("one", "two", "three"), budget=1000)
    assert [turn.text for turn in turns] == ["Be kind.", "one", "two", "three"]
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]


def test_the_oldest_turns_go_first_and_the_system_prompt_stays() -> None:
    messages = _conversation("old " * 50, "older answer " * 20, "new", "newer", "newest")
    budget = sum(estimate_tokens(text) for text in ("Be kind.", "new", "newer", "newest"))
    turns = fit("Be kind.", messages, budget)
    assert [turn.text for turn in turns] == ["Be kind.", "new", "newer", "newest"]


def test_what_is_kept_begins_with_a_person() -> None:
    messages = _conversation("old " * 50, "an answer", "new")
    turns = fit("", messages, sum(estimate_tokens(text) for text in ("an answer", "new")))
    assert [turn.text for turn in turns] == ["new"]


def test_a_message_that_is_too_long_by_itself_still_goes() -> None:
    assert [turn.text for turn in fit("", _conversation("x" * 9000), budget=10)] == ["x" * 9000]


def test_answers_that_failed_before_their_first_word_are_left_out() -> None:
    messages = [_message("user", "one"), _message("assistant", ""), _message("user", "two")]
    assert [turn.text for turn in fit("", messages, 1000)] == ["one", "two"]


@given(messages=conversations, budget=st.integers(min_value=1, max_value=600), system=st.text(max_size=20))
def test_the_history_is_a_suffix_that_fits(messages: list[Message], budget: int, system: str) -> None:
    turns = fit(system, messages, budget)
    if system:
        assert turns[0].role == "system"
        turns = turns[1:]
    texts = [message.text for message in messages if message.text]
    assert [turn.text for turn in turns] == texts[len(texts) - len(turns) :]
    assert turns
    spent = sum(estimate_tokens(turn.text) for turn in turns)
    assert len(turns) == 1 or spent + (estimate_tokens(system) if system else 0) <= budget
