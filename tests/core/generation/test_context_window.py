import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.conversation.message import Message
from core.generation.context_window import MAX_TRIES, SAFETY_FACTOR, Fitting, TooLong, Window, narrowed, too_long
from core.generation.history import fit
from core.generation.tokens import estimate
from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError, Turn

FIGURES = st.one_of(st.none(), st.integers(-5, 2**40))


def _refusal(tokens: int | None = None, limit: int | None = None) -> ProviderError:
    return ProviderError(ErrorKind.TOO_LONG, "HTTP 400", prompt_tokens=tokens, limit_tokens=limit)


def _config(**more: Any) -> ModelConfig:
    table = {"label": "M", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1", **more}
    return ModelConfig.model_validate(table)


@given(st.text(), st.sampled_from([0.2, 1.0, 3.0, 8.0]))
def test_any_text_has_an_estimate(text: str, ratio: float) -> None:
    size = len(text.encode())
    assert size / ratio <= estimate(text, ratio) < size / ratio + 1


@pytest.mark.parametrize("text", ["\ud83d", "a\udfffb", "🎉" * 10, "你好" * 10, "\x00", "e\u0301" * 1000])
def test_whatever_it_is(text: str) -> None:
    assert estimate(text, 3.0) > 0


@pytest.mark.parametrize("unit", ["9", "你", "🎉", "e\u0301", "a b\n", "\ud83d", "AAAA"])
def test_an_estimate_takes_linear_time(unit: str) -> None:
    began = time.process_time()
    estimate(unit * 1_000_000, 3.0)
    assert time.process_time() - began < 0.5


def test_the_room_is_what_answer_and_thinking_leave_of_the_context() -> None:
    assert Window.for_model(_config(context_tokens=600, max_tokens=100), 3.0).room == 500
    assert Window.for_model(_config(context_tokens=600, max_tokens=100, thinking_budget=200), 3.0).room == 300
    assert Window.for_model(_config(context_tokens=600, max_tokens=599, thinking_budget=9000), 3.0).room == 0


LONG = [Turn("system", "Be kind."), *(Turn("user" if n % 2 == 0 else "assistant", "9" * 300) for n in range(21))]
"""Of 6,308 bytes."""
WINDOW = Window(5000, 3.0, 100)


def test_a_refusal_that_names_figures_says_how_much_less_will_do() -> None:
    """6,400 tokens were 6,308 bytes: about one byte each."""
    narrow = narrowed(WINDOW, LONG, _refusal(6400, 4096), last=False)
    assert narrow.room * narrow.bytes_per_token == pytest.approx(6308 / 2, rel=0.1)
    narrow = narrowed(WINDOW, LONG, _refusal(6400, 1000), last=False)
    assert narrow.room == 900
    assert narrow.bytes_per_token == pytest.approx(SAFETY_FACTOR, rel=0.1)


def test_without_figures_half_of_it_and_no_more_than_surely_fits_is_sent() -> None:
    narrow = narrowed(WINDOW, LONG, _refusal(), last=False)
    assert narrow.room == pytest.approx(6308 / 2, rel=0.1)
    assert narrowed(WINDOW._replace(room=700), LONG, _refusal(), last=False) == (700, 1.0, 100)


def test_the_last_try_is_sure_to_fit_or_has_the_question_alone() -> None:
    assert narrowed(WINDOW, LONG, _refusal(2000, 600), last=True) == (500, 1.0, 100)
    assert narrowed(WINDOW, LONG, _refusal(2000), last=True).room == 0


@given(tokens=FIGURES, limit=FIGURES, room=st.integers(0, 10_000), last=st.booleans())
def test_whatever_a_refusal_says_at_most_half_is_sent_again(
    tokens: int | None, limit: int | None, room: int, last: bool
) -> None:
    narrow = narrowed(Window(room, 3.0, 100), LONG, _refusal(tokens, limit), last=last)
    assert narrow.bytes_per_token > 0
    assert narrow.taken_by(LONG) >= 2 * narrow.room
    assert narrow.room <= room


@given(
    sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=30),
    density=st.sampled_from([0.5, 1.0, 0.25]),
    context=st.integers(150, 3000),
    promised=st.integers(1, 40),
    figures=st.booleans(),
)
def test_a_question_that_fits_is_answered_whatever_came_before(
    sizes: list[int], density: float, context: int, promised: int, figures: bool
) -> None:
    """A server's real context is smaller than its table says, up to forty times, and its tokens are small, or not."""

    def really(turns: list[Turn]) -> int:
        return sum(int(len(turn.text) * density) + 1 for turn in turns)

    messages = [
        Message("id", "user" if n % 2 == 0 else "assistant", "9" * size, None, "complete", "")
        for n, size in enumerate(sizes)
    ]
    asked = [*messages, Message("id", "user", "Hello?", None, "complete", "")][::-1]
    fitting = Fitting(Window(context * promised, 3.0, 20), "M", "Be kind.")
    for _ in range(MAX_TRIES):
        prompt = fit(fitting.window, "Be kind.", asked)
        assert prompt is not None
        count = really(prompt.turns)
        if count + 20 <= context:
            return
        fitting.refused(prompt.turns, _refusal(count, context) if figures else _refusal(), least=prompt.least)


def test_a_model_is_not_asked_for_ever() -> None:
    fitting = Fitting(WINDOW, "M", "Be kind.")
    for _ in range(MAX_TRIES - 1):
        fitting.refused(LONG, _refusal(), least=False)
    with pytest.raises(TooLong, match="too-long"):
        fitting.refused(LONG, _refusal(), least=False)


def test_it_is_not_asked_twice_with_the_same() -> None:
    with pytest.raises(TooLong):
        Fitting(WINDOW, "M", "Be kind.").refused(LONG[:2], _refusal(), least=True)


QUESTION = [Turn("system", "Be kind."), Turn("user", "9" * 1500)]


def test_a_message_that_is_too_long_is_told_with_both_figures() -> None:
    window = Window(3696, 3.0, 400)
    told = too_long(window, "M", "Be kind.", QUESTION, _refusal(5120, 3696), least=True)
    assert told.detail == "Your message has about 5,120 tokens; M takes at most 3,696."
    assert (told.kind, told.prompt_tokens, told.limit_tokens) == (ErrorKind.TOO_LONG, 5120, 3696)


@given(tokens=FIGURES, limit=FIGURES, room=st.integers(0, 5000), least=st.booleans())
def test_no_figure_is_made_up(tokens: int | None, limit: int | None, room: int, least: bool) -> None:
    window = Window(room, 3.0, 100)
    told = too_long(window, "M", "", QUESTION[1:], _refusal(tokens, limit), least=least)
    lies = tokens is not None and 0 != tokens < 1500 / 16
    counted = tokens if not lies and tokens is not None and 0 < tokens <= 2**31 - 1 else window.taken_by(QUESTION[1:])
    named = limit if not lies and limit is not None and 0 < limit <= 2**31 - 1 else room
    assert (told.tokens, told.limit) == (counted, named)
    assert ("tokens" in told.detail) == (counted > named > 0), "only figures that show what is too long are told"


@pytest.mark.parametrize(("tokens", "believed"), [(3, False), (187, False), (188, True)])
def test_a_refusal_that_has_counted_too_little_is_not_believed(tokens: int, believed: bool) -> None:
    window, question = Window(400, 3.0, 100), [Turn("user", "9" * 3000)]
    told = too_long(window, "M", "", question, _refusal(tokens, 1), least=True)
    assert (told.tokens, told.limit) == ((tokens, 1) if believed else (1008, 400))
    narrow = narrowed(window, LONG, _refusal(tokens, 1), last=False)
    assert (narrow.room == 0) == (believed and tokens * 16 > 6300), "nor is less sent for it"


@pytest.mark.parametrize(
    ("window", "question", "tokens", "limit", "figures"),
    [
        # The room for the answer is missing, whatever was asked for.
        (Window(500, 3.0, 100), "9" * 500, 550, 600, (550, 600)),
        (Window(7168, 3.0, 1024), "Hello?", 10, 1025, (10, 1025)),
        (Window(7168, 3.0, 1024), "Hello?", 500, 1048, (500, 1048)),
        # The table promises more than there is, and how much that is is unknown.
        (Window(31_900, 3.0, 100), "9" * 1500, None, None, (508, 31_900)),
        (Window(31_900, 3.0, 100), "9" * 1500, 900, None, (900, 31_900)),
        (Window(31_900, 3.0, 100), "9" * 1500, None, 4096, (508, 4096)),
    ],
)
def test_figures_by_which_it_would_fit_are_not_told(
    window: Window, question: str, tokens: int | None, limit: int | None, figures: tuple[int, int]
) -> None:
    told = too_long(window, "M", "", [Turn("user", question)], _refusal(tokens, limit), least=True)
    assert told.detail == "Your message and the room for an answer are more than M takes."
    assert (told.subject, told.tokens, told.limit) == ("answer", *figures)


def test_it_tells_what_is_too_long() -> None:
    window = Window(500, 1.0, 100)
    system = "Rule. " * 200
    alone = too_long(window, "M", system, [Turn("system", system), Turn("user", "Hi")], _refusal(), least=True)
    assert alone.subject == "instructions"
    assert alone.detail == "This service's own instructions have about 1,208 tokens; M takes at most 500."
    most = [Turn("system", "s" * 400), Turn("user", "9" * 200)]
    assert too_long(window, "M", "s" * 400, most, _refusal(), least=True).detail.startswith(
        "Your message with this service's own instructions has about 616 tokens"
    )
    going_on = [Turn("user", "9" * 400), Turn("assistant", "9" * 400), Turn("user", "Go on")]
    assert "with the answer so far has" in too_long(window, "M", "", going_on, _refusal(), least=True).detail
    assert "with the answer so far has" in too_long(window, "M", "", going_on[:2], _refusal(), least=True).detail
    assert "This conversation has" in too_long(window, "M", "", going_on, _refusal(), least=False).detail
