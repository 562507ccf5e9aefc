from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.conversation.message import Message
from core.generation.context_window import Window
from core.generation.history import CONTINUE_PROMPT, MAX_SKIPPED_QUESTIONS, MIN_ANSWER_TAIL, fit
from core.generation.prompt_variants import PromptVariant, Scope
from core.generation.tokens import TURN_OVERHEAD
from core.llm.providers.base import Turn
from tests.core.generation.conversations import ROOMY, a_message, answered, asked, conversation, failed, fitted
from tests.support.chat_templates import TEMPLATES, render


def _texts(window: Window, system: str, messages: list[Message]) -> list[str]:
    return [turn.text for turn in fitted(window, system, messages).turns]


def _window_for(*texts: str) -> Window:
    return Window(sum(ROOMY.tokens(text) for text in texts), ROOMY.bytes_per_token)


def test_a_short_conversation_goes_whole() -> None:
    turns = fitted(ROOMY, "Be kind.", conversation("one", "two", "three")).turns
    assert [turn.text for turn in turns] == ["Be kind.", "one", "two", "three"]
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]


def test_the_oldest_turns_go_first_and_the_system_prompt_stays() -> None:
    messages = conversation("old " * 50, "older answer " * 20, "new", "newer", "newest")
    window = _window_for("Be kind.", "new", "newer", "newest")
    assert _texts(window, "Be kind.", messages) == ["Be kind.", "new", "newer", "newest"]


def test_what_is_kept_begins_with_a_person() -> None:
    messages = conversation("old " * 50, "an answer", "new")
    assert _texts(_window_for("an answer", "new"), "", messages) == ["new"]


def test_a_message_that_is_too_long_by_itself_still_goes() -> None:
    prompt = fitted(Window(10, 3.0), "", conversation("x" * 9000))
    assert (prompt.turns, prompt.least) == ([Turn("user", "x" * 9000)], True)


def test_of_questions_without_an_answer_those_that_do_not_fit_are_passed_over() -> None:
    messages = [*conversation("Hi, I'm Ada.", "Hi, Ada!"), asked("9" * 5000), failed("too-long"), asked("Hello?")]
    window = _window_for("Hi, I'm Ada.", "Hi, Ada!", "Hello?")
    assert _texts(window, "", messages) == ["Hi, I'm Ada.", "Hi, Ada!", "Hello?"]


def test_no_more_than_a_few_are_passed_over() -> None:
    long = [asked("9" * 5000)] * (MAX_SKIPPED_QUESTIONS + 5)
    unread = iter([asked("Hello?"), *long, answered("too old"), asked("too old")])
    prompt = fit(Window(100, 3.0), "", unread)
    assert prompt is not None
    assert prompt.turns == [Turn("user", "Hello?")]
    assert len(list(unread)) == 6


def test_thinking_is_not_sent() -> None:
    messages = [asked("one"), answered("two", thinking="secretly"), asked("three"), answered("", thinking="hm")]
    turns = fitted(ROOMY, "", [*messages, asked("four")]).turns
    assert [turn.text for turn in turns] == ["one", "two", "three\n\nfour"]


def test_without_a_turn_for_it_the_system_prompt_begins_the_first_question() -> None:
    turns = fitted(ROOMY, "Be kind.", conversation("one", "two", "three"), system_turn=False).turns
    assert turns == [Turn("user", "Be kind.\n\none"), Turn("assistant", "two"), Turn("user", "three")]


def test_an_answer_that_broke_off_is_gone_on_with() -> None:
    three = conversation("one", "two", "three")
    assert fitted(ROOMY, "", three, "Half an ", variant=PromptVariant(True)).turns[2:] == [
        Turn("user", "three"),
        Turn("assistant", "Half an "),
    ]
    assert fitted(ROOMY, "", three, "Half an ").turns[2:] == [
        Turn("user", "three"),
        Turn("assistant", "Half an "),
        Turn("user", CONTINUE_PROMPT),
    ]
    assert fitted(ROOMY, "", three, "Half an ").question == fitted(ROOMY, "", three).turns


@pytest.mark.parametrize("prefill", [True, False])
def test_an_answer_too_long_to_go_on_with_goes_with_its_end(prefill: bool) -> None:
    answer = "".join(f"{number} 你好 " for number in range(2000))
    prompt = fitted(Window(500, 3.0), "", conversation("one", "two", "three"), answer, variant=PromptVariant(prefill))
    assert [turn.text for turn in prompt.question] == ["three"]
    sent = prompt.answer[0].text
    assert answer.endswith(sent)
    assert MIN_ANSWER_TAIL < len(sent) < 1500
    assert not prompt.least
    least = fitted(Window(0, 3.0), "", conversation("one", "two", "three"), answer, variant=PromptVariant(prefill))
    assert least.least
    assert len(least.answer[0].text.rstrip()) == MIN_ANSWER_TAIL


def test_blank_ends_of_answers_never_make_a_blank_turn() -> None:
    prompt = fitted(Window(30, 1.0), "", [asked("?")], "word" + "\n" * 5000, variant=PromptVariant(True))
    assert prompt.answer[0].text.startswith("word\n")
    assert fitted(ROOMY, "", [asked("?")], "\n\n", variant=PromptVariant(True)).turns == [Turn("user", "?")]


def test_without_a_question_there_is_nothing_to_ask() -> None:
    assert fit(ROOMY, "Be kind.", []) is None
    assert fit(ROOMY, "Be kind.", [answered("two"), asked(" ")]) is None


blank_or_not = st.one_of(st.sampled_from(["", " ", "\n", "half", "9" * 90, "你好 " * 9]), st.text(max_size=40))
answers = st.builds(
    a_message,
    st.just("assistant"),
    blank_or_not,
    finish_reason=st.sampled_from([None, "stop", "length", "content_filter", "error", "stopped"]),
    problem=st.sampled_from([None, {}, {"reason": "filtered"}, {"reason": "rejected"}, {"reason": "too-long"}]),
    thinking=st.sampled_from([None, "hm"]),
)
questions = st.builds(asked, blank_or_not)
histories = st.lists(st.one_of(questions, answers), max_size=20)
windows = st.builds(Window, st.integers(-50, 400), st.sampled_from([0.25, 1.0, 3.0, 8.0]))


@given(
    messages=histories,
    last=st.text(min_size=1).filter(str.strip),
    window=windows,
    system=st.sampled_from(["", " ", "Be kind."]),
    answer=blank_or_not,
    prefill=st.booleans(),
    scope=st.sampled_from(Scope),
    template=st.sampled_from(list(TEMPLATES)),
)
@example([asked("9" * 90)], "?", Window(10, 1.0), "Be kind.", " \n", True, Scope.ALL, "gemma")
def test_every_history_is_taken_by_every_template(
    messages: list[Message],
    last: str,
    window: Window,
    system: str,
    answer: str,
    prefill: bool,
    scope: Scope,
    template: str,
) -> None:
    asking = [*messages, asked(last)]
    variant, system_turn = PromptVariant(prefill, scope), template != "gemma"
    prompt = fitted(window, system, asking, answer, variant=variant, system_turn=system_turn)
    sent = [{"role": turn.role, "content": turn.text} for turn in prompt.turns]
    text = render(template, sent, prefill=prefill)
    assert last.strip() in text
    assert system.strip() in text
    continued = prefill and bool(answer.strip())
    assert prompt.turns[-1].role == ("assistant" if continued else "user")
    if window.taken_by(prompt.turns) > window.room + TURN_OVERHEAD:
        assert prompt.least, "what does not fit is no more than must be"


@given(messages=histories, window=windows, smaller=st.integers(0, 400))
def test_no_more_is_read_than_it_takes(messages: list[Message], window: Window, smaller: int) -> None:
    unread = iter([asked("?"), *messages[::-1]])
    prompt = fit(window, "", unread)
    assert prompt is not None
    rest = list(unread)
    assert fit(window, "", [asked("?"), *messages[::-1][: len(messages) - len(rest)]]) == prompt
    less = fitted(window._replace(room=window.room - smaller), "", [*messages, asked("?")])
    assert len(less.turns[-1].text) <= len(prompt.turns[-1].text)


def test_a_long_history_is_not_read_to_its_beginning() -> None:
    read = 0

    def words() -> Any:
        nonlocal read
        for number in range(10_000):
            read += 1
            yield a_message("assistant" if number % 2 else "user", "x" * 300)

    prompt = fit(Window(1000, 3.0), "Be kind.", words())
    assert prompt is not None
    assert read <= len(prompt.turns) + 1
