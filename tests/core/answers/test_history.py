from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.answers.context_window import Window
from core.answers.form import Form, Scope
from core.answers.history import CONTINUE, PASSED_OVER, SHORTEST_END, Prompt, fit
from core.answers.tokens import TURN_OVERHEAD
from core.message import Message
from core.providers import Turn
from tests.chat_templates import TEMPLATES, render

ROOMY = Window(100_000, 3.0)


def _message(role: str, text: str, **more: Any) -> Message:
    return Message("id", role, text, None, "complete", "", **more)  # type: ignore[arg-type]


def _asked(text: str) -> Message:
    return _message("user", text)


def _answered(text: str = "", **more: Any) -> Message:
    return _message("assistant", text, **more)


def _failed(reason: str, text: str = "") -> Message:
    problem = {"type": "/problems/provider-failed", "reason": reason}
    return replace(_answered(text, finish_reason="error", problem=problem), state="failed")


def _conversation(*texts: str) -> list[Message]:
    return [_message("user" if index % 2 == 0 else "assistant", text) for index, text in enumerate(texts)]


def _fit(window: Window, system: str, messages: list[Message], answer: str = "", **options: Any) -> Prompt:
    prompt = fit(window, system, reversed(messages), answer, **options)
    assert prompt is not None
    return prompt


def _texts(window: Window, system: str, messages: list[Message]) -> list[str]:
    return [turn.text for turn in _fit(window, system, messages).turns]


def _window_for(*texts: str) -> Window:
    return Window(sum(ROOMY.tokens(text) for text in texts), ROOMY.bytes_per_token)


def test_a_short_conversation_goes_whole() -> None:
    turns = _fit(ROOMY, "Be kind.", _conversation("one", "two", "three")).turns
    assert [turn.text for turn in turns] == ["Be kind.", "one", "two", "three"]
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]


def test_the_oldest_turns_go_first_and_the_system_prompt_stays() -> None:
    messages = _conversation("old " * 50, "older answer " * 20, "new", "newer", "newest")
    window = _window_for("Be kind.", "new", "newer", "newest")
    assert _texts(window, "Be kind.", messages) == ["Be kind.", "new", "newer", "newest"]


def test_what_is_kept_begins_with_a_person() -> None:
    messages = _conversation("old " * 50, "an answer", "new")
    assert _texts(_window_for("an answer", "new"), "", messages) == ["new"]


def test_a_message_that_is_too_long_by_itself_still_goes() -> None:
    prompt = _fit(Window(10, 3.0), "", _conversation("x" * 9000))
    assert (prompt.turns, prompt.least) == ([Turn("user", "x" * 9000)], True)


@pytest.mark.parametrize("nothing", ["", " ", "\n\n", "\u00a0\u2003"])
def test_a_question_that_was_not_answered_is_asked_with_the_next(nothing: str) -> None:
    messages = [_asked("one"), _answered(nothing), _asked("two"), _failed("server-error", nothing), _asked("three")]
    assert _fit(ROOMY, "", messages).turns == [Turn("user", "one\n\ntwo\n\nthree")]


def test_what_there_is_of_a_stopped_or_failed_answer_is_part_of_the_conversation() -> None:
    messages = [_asked("one"), _failed("broken-stream", "Half an"), _asked("two")]
    assert [turn.text for turn in _fit(ROOMY, "", messages).turns] == ["one", "Half an", "two"]


def test_of_questions_without_an_answer_those_that_do_not_fit_are_passed_over() -> None:
    messages = [*_conversation("Hi, I'm Ada.", "Hi, Ada!"), _asked("9" * 5000), _failed("too-long"), _asked("Hello?")]
    window = _window_for("Hi, I'm Ada.", "Hi, Ada!", "Hello?")
    assert _texts(window, "", messages) == ["Hi, I'm Ada.", "Hi, Ada!", "Hello?"]


def test_no_more_than_a_few_are_passed_over() -> None:
    long = [_asked("9" * 5000)] * (PASSED_OVER + 5)
    unread = iter([_asked("Hello?"), *long, _answered("too old"), _asked("too old")])
    prompt = fit(Window(100, 3.0), "", unread)
    assert prompt is not None
    assert prompt.turns == [Turn("user", "Hello?")]
    assert len(list(unread)) == 6


REFUSED = [
    _failed("filtered"),
    _failed("filtered", "Half an"),
    _answered("Half an", finish_reason="content_filter"),
    replace(_answered(finish_reason="content_filter"), state="failed"),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_what_a_filter_has_refused_is_not_sent_again(refused: Message) -> None:
    before = [*_conversation("Hi", "Hello!"), _asked("bad"), _answered(""), _asked("worse"), refused]
    prompt = _fit(ROOMY, "", [*before, _asked("good")])
    assert [turn.text for turn in prompt.turns] == ["Hi", "Hello!", "good"]
    assert prompt.doubtful


@pytest.mark.parametrize("refused", [each for each in REFUSED if not each.text])
def test_what_was_answered_before_is_not_forgotten_for_any_number_of_those(refused: Message) -> None:
    messages = _conversation("Hi", "Hello!")
    for _ in range(5):
        messages += [_asked("bad"), refused]
        assert [turn.text for turn in _fit(ROOMY, "", [*messages, _asked("good")]).turns] == ["Hi", "Hello!", "good"]


@pytest.mark.parametrize("cut", [each for each in REFUSED if each.text])
def test_nothing_is_told_before_answers_that_are_cut_again_and_again_until_one_is_not(cut: Message) -> None:
    """For what is asked, or for what came before; only the first would be refused at once."""
    messages = [*_conversation("Hi", "Hello!"), _asked("bad"), cut, _asked("bad"), cut]
    assert [turn.text for turn in _fit(ROOMY, "", [*messages, _asked("good")]).turns] == ["good"]
    messages += [*_conversation("good", "Fine."), _asked("better")]
    assert [turn.text for turn in _fit(ROOMY, "", messages).turns] == ["Hi", "Hello!", "good", "Fine.", "better"]


@pytest.mark.parametrize("reason", ["rejected", "server-error", "timeout"])
def test_what_has_no_answer_is_told_unless_the_scope_leaves_it_out(reason: str) -> None:
    messages = [*_conversation("Hi", "Hello!"), _asked("one"), _failed(reason), _asked("two"), _failed(reason)]
    told = {scope: _fit(ROOMY, "", [*messages, _asked("three")], form=Form(False, scope)) for scope in Scope}
    assert {scope: [turn.text for turn in prompt.turns] for scope, prompt in told.items()} == {
        Scope.ALL: ["Hi", "Hello!", "one\n\ntwo\n\nthree"],
        Scope.ANSWERED: ["Hi", "Hello!", "three"],
        Scope.NONE: ["three"],
    }
    assert all(prompt.doubtful for prompt in told.values())
    assert not _fit(ROOMY, "", _conversation("Hi", "Hello!", "one")).doubtful


def test_what_is_on_the_way_when_the_server_breaks_is_no_refusal() -> None:
    messages = [_asked("one"), _failed("rejected", "Half an"), _asked("two")]
    assert [turn.text for turn in _fit(ROOMY, "", messages).turns] == ["one", "Half an", "two"]


def test_thinking_is_not_sent() -> None:
    messages = [_asked("one"), _answered("two", thinking="secretly"), _asked("three"), _answered("", thinking="hm")]
    turns = _fit(ROOMY, "", [*messages, _asked("four")]).turns
    assert [turn.text for turn in turns] == ["one", "two", "three\n\nfour"]


def test_without_a_turn_for_it_the_system_prompt_begins_the_first_question() -> None:
    turns = _fit(ROOMY, "Be kind.", _conversation("one", "two", "three"), system_turn=False).turns
    assert turns == [Turn("user", "Be kind.\n\none"), Turn("assistant", "two"), Turn("user", "three")]


def test_an_answer_that_broke_off_is_gone_on_with() -> None:
    asked = _conversation("one", "two", "three")
    assert _fit(ROOMY, "", asked, "Half an ", form=Form(True)).turns[2:] == [
        Turn("user", "three"),
        Turn("assistant", "Half an "),
    ]
    assert _fit(ROOMY, "", asked, "Half an ").turns[2:] == [
        Turn("user", "three"),
        Turn("assistant", "Half an "),
        Turn("user", CONTINUE),
    ]
    assert _fit(ROOMY, "", asked, "Half an ").question == _fit(ROOMY, "", asked).turns


@pytest.mark.parametrize("prefill", [True, False])
def test_an_answer_too_long_to_go_on_with_goes_with_its_end(prefill: bool) -> None:
    answer = "".join(f"{number} 你好 " for number in range(2000))
    prompt = _fit(Window(500, 3.0), "", _conversation("one", "two", "three"), answer, form=Form(prefill))
    assert [turn.text for turn in prompt.question] == ["three"]
    sent = prompt.answer[0].text
    assert answer.endswith(sent)
    assert SHORTEST_END < len(sent) < 1500
    assert not prompt.least
    least = _fit(Window(0, 3.0), "", _conversation("one", "two", "three"), answer, form=Form(prefill))
    assert least.least
    assert len(least.answer[0].text.rstrip()) == SHORTEST_END


def test_blank_ends_of_answers_never_make_a_blank_turn() -> None:
    prompt = _fit(Window(30, 1.0), "", [_asked("?")], "word" + "\n" * 5000, form=Form(True))
    assert prompt.answer[0].text.startswith("word\n")
    assert _fit(ROOMY, "", [_asked("?")], "\n\n", form=Form(True)).turns == [Turn("user", "?")]


def test_without_a_question_there_is_nothing_to_ask() -> None:
    assert fit(ROOMY, "Be kind.", []) is None
    assert fit(ROOMY, "Be kind.", [_answered("two"), _asked(" ")]) is None


blank_or_not = st.one_of(st.sampled_from(["", " ", "\n", "half", "9" * 90, "你好 " * 9]), st.text(max_size=40))
answers = st.builds(
    _message,
    st.just("assistant"),
    blank_or_not,
    finish_reason=st.sampled_from([None, "stop", "length", "content_filter", "error", "stopped"]),
    problem=st.sampled_from([None, {}, {"reason": "filtered"}, {"reason": "rejected"}, {"reason": "too-long"}]),
    thinking=st.sampled_from([None, "hm"]),
)
questions = st.builds(_asked, blank_or_not)
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
@example([_asked("9" * 90)], "?", Window(10, 1.0), "Be kind.", " \n", True, Scope.ALL, "gemma")
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
    form = Form(prefill, scope)
    prompt = _fit(window, system, [*messages, _asked(last)], answer, form=form, system_turn=template != "gemma")
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
    unread = iter([_asked("?"), *messages[::-1]])
    prompt = fit(window, "", unread)
    assert prompt is not None
    rest = list(unread)
    assert fit(window, "", [_asked("?"), *messages[::-1][: len(messages) - len(rest)]]) == prompt
    less = _fit(window._replace(room=window.room - smaller), "", [*messages, _asked("?")])
    assert len(less.turns[-1].text) <= len(prompt.turns[-1].text)


def test_a_long_history_is_not_read_to_its_beginning() -> None:
    read = 0

    def words() -> Any:
        nonlocal read
        for number in range(10_000):
            read += 1
            yield _message("assistant" if number % 2 else "user", "x" * 300)

    prompt = fit(Window(1000, 3.0), "Be kind.", words())
    assert prompt is not None
    assert read <= len(prompt.turns) + 1
