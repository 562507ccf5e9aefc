"""What of a stream becomes the answer: no thread, no socket, no clock but the test's."""

from collections.abc import Iterable, Iterator
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.generation import stream_filter, thinking
from core.generation.batch import Batch
from core.generation.deadlines import MAX_REQUEST_TIME, Deadlines
from core.generation.draft import Draft
from core.generation.failure import EmptyAnswer
from core.generation.leading_blanks import MAX_LEADING_BLANKS
from core.generation.stream_filter import StreamFilter, StreamOutput
from core.generation.thinking import Thinking
from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, FinishReason, ProviderError, Usage
from core.text.characters import blank

DEFAULTS = ModelConfig.model_fields
FIRST, BETWEEN = DEFAULTS["first_token_timeout"].default, DEFAULTS["between_tokens_timeout"].default
LIFE = Batch(alive=True)
END = Batch(ended=True, finish_reason="stop")


def _filter(text: str = "", thoughts: Thinking | None = None, *, prefilled: bool = False) -> StreamFilter:
    return StreamFilter(text, thoughts or Thinking(), Deadlines(FIRST, BETWEEN, 0), prefilled=prefilled)


def _hear(one: StreamFilter, batches: Iterable[tuple[float, Batch]]) -> Iterator[StreamOutput]:
    for now, batch in batches:
        heard = one.take(batch, now)
        yield heard
        if heard.error or heard.finish_reason:
            return


def test_a_model_that_thinks_for_75_seconds_answers() -> None:
    draft = Draft()
    one = _filter()
    batches = [(second, Batch(thinking=".", alive=True)) for second in range(5, 81, 5)]
    for heard in _hear(one, batches):
        draft.add_thinking(heard.thinking, heard.thinking_ms)
        assert heard.error is None
    first = one.take(Batch("So.", alive=True), 81)
    assert first.text == "So."
    assert one.take(END, 82).finish_reason == "stop"
    draft.add_text(first.text, first.thinking_ms)
    assert draft.thinking.seconds == 76


@pytest.mark.parametrize("sign", [LIFE, Batch(" ", alive=True), Batch(thinking="\n", alive=True)], ids=repr)
def test_any_sign_of_life_begins_the_wait_anew(sign: Batch) -> None:
    one = _filter()
    for number in range(1, 10):
        assert one.take(sign, number * (BETWEEN - 1)).error is None


def test_silence_is_given_up_after_the_long_wait_before_the_first_word_and_the_short_one_after() -> None:
    assert _filter().take(Batch(), FIRST).error is None
    silent = _filter().take(Batch(), FIRST + 1)
    assert (silent.error and silent.error.kind) is ErrorKind.TIMEOUT
    one = _filter()
    one.take(Batch("So", alive=True), 1)
    assert one.take(Batch(), 1 + BETWEEN).error is None
    assert one.take(Batch(), 2 + BETWEEN).error is not None


@pytest.mark.parametrize("before", ["", "Half an answer"], ids=["at first", "going on"])
@pytest.mark.parametrize("sign", [Batch(" "), Batch("\n\n"), Batch(thinking="Hmm")], ids=repr)
def test_what_is_no_word_of_the_answer_does_not_end_the_long_wait(sign: Batch, before: str) -> None:
    """Summaries of thinking come minutes apart."""
    one = _filter(before, prefilled=True)
    for count in range(1, 4):
        assert one.take(sign._replace(alive=True), count * FIRST).error is None
    one.take(Batch("So", alive=True), 4 * FIRST)
    assert one.take(Batch(), 4 * FIRST + BETWEEN + 1).error is not None


def test_words_that_only_repeat_the_answer_are_words() -> None:
    one = _filter("Half an answer, and ")
    assert one.take(Batch("an answer", alive=True), 1).text == ""
    assert one.take(Batch(), 1 + BETWEEN).error is None
    silent = one.take(Batch(), 2 + BETWEEN)
    assert (silent.error and silent.error.kind) is ErrorKind.TIMEOUT


def test_the_last_words_before_a_failure_are_kept() -> None:
    error = ProviderError(ErrorKind.BROKEN_STREAM)
    heard = _filter().take(Batch("Half an ", error=error, ended=True, thinking="Hmm"), 1)
    assert (heard.text, heard.thinking, heard.error) == ("Half an ", "Hmm", error)


@pytest.mark.parametrize("reason", get_args(FinishReason))
@pytest.mark.parametrize("said", ["", " \n", "\u200b", "\ufeff\u00a0"])
@pytest.mark.parametrize("thought", ["", "Hmm"])
def test_no_end_without_a_word_is_an_answer(reason: FinishReason, said: str, thought: str) -> None:
    heard = _filter().take(Batch(said, ended=True, finish_reason=reason, thinking=thought), 1)
    assert isinstance(heard.error, EmptyAnswer)
    assert (heard.text, heard.finish_reason, heard.error.finish_reason) == ("", None, reason)
    assert heard.error.used_up == (reason == "length" and bool(thought))


@pytest.mark.parametrize("reason", get_args(FinishReason))
def test_thinking_that_is_only_counted_has_used_up_the_room_too(reason: FinishReason) -> None:
    heard = _filter().take(Batch(ended=True, finish_reason=reason, usage=Usage(9, 1024, 1024)), 1)
    assert isinstance(heard.error, EmptyAnswer)
    assert heard.error.used_up == (reason == "length")
    cut = _filter().take(Batch("Hi", ended=True, finish_reason=reason, usage=Usage(9, 1024, 1000)), 1)
    assert (cut.text, cut.error, cut.finish_reason) == ("Hi", None, reason)


@pytest.mark.parametrize(
    ("before", "said", "kind", "reason"),
    [
        ("", "Half an", ErrorKind.FILTERED, "content_filter"),
        ("Half an", "", ErrorKind.FILTERED, "content_filter"),
        ("", "Half an", ErrorKind.TOO_LONG, "length"),
        ("Half an", " answer", ErrorKind.TOO_LONG, "length"),
        # This is about what it was asked with.
        ("Half an", "", ErrorKind.TOO_LONG, None),
        ("Half an", "\n", ErrorKind.TOO_LONG, None),
        ("", " \n", ErrorKind.FILTERED, None),
        ("", "", ErrorKind.FILTERED, None),
        ("", "", ErrorKind.TOO_LONG, None),
        *(("", "Half an", kind, None) for kind in ErrorKind if kind not in (ErrorKind.FILTERED, ErrorKind.TOO_LONG)),
    ],
)
def test_errors_that_are_ends_of_an_answer(before: str, said: str, kind: ErrorKind, reason: str | None) -> None:
    error = ProviderError(kind)
    heard = _filter(before, prefilled=True).take(Batch(said, error=error, ended=True), 1)
    assert (heard.finish_reason, heard.ending_error if reason else heard.error) == (reason, error)
    assert (heard.error is None) == (heard.ending_error is not None)


@pytest.mark.parametrize("reason", get_args(FinishReason))
def test_with_words_every_end_is_told_as_it_is(reason: FinishReason) -> None:
    usage = Usage(7, 11, 3)
    heard = _filter().take(Batch("So.", ended=True, finish_reason=reason, usage=usage), 1)
    assert heard == StreamOutput("", "So.", None, reason, usage)


def test_a_model_that_is_asked_to_go_on_and_has_nothing_to_add_ends_the_answer() -> None:
    assert _filter("Half an answer.", prefilled=True).take(END, 1).finish_reason == "stop"


def test_what_is_repeated_is_dropped_unless_the_model_was_given_the_text() -> None:
    assert _filter("Half an answer").take(Batch("n answer.", ended=True, finish_reason="stop"), 1).text == "."
    assert _filter("Half an answer", prefilled=True).take(Batch("answer"), 1).text == "answer"


def test_an_answer_and_its_thinking_have_a_length_exactly() -> None:
    kept = ""
    one = _filter()
    for _ in range(3):
        thought = Batch(thinking="🤔" * (thinking.MAX_THINKING_LENGTH // 2 - 1), alive=True)
        kept += one.take(thought, 1).thinking
    assert kept == "🤔" * thinking.MAX_THINKING_LENGTH
    assert one.take(Batch(thinking="more", alive=True), BETWEEN).error is None
    assert one.take(Batch(), 2 * BETWEEN - 1).error is None, "what is not kept is a sign of life"
    assert one.take(Batch("x" * (stream_filter.MAX_ANSWER_LENGTH - 1)), 2 * BETWEEN).finish_reason is None
    last = one.take(Batch("yz"), 2 * BETWEEN)
    assert (last.text, last.finish_reason) == ("y", "length")


def test_blanks_without_end_are_no_answer() -> None:
    batches = ((number / 100, Batch("\n" * 100, alive=True)) for number in range(MAX_LEADING_BLANKS))
    *_, last = _hear(_filter(), batches)
    assert isinstance(last.error, EmptyAnswer)


def test_thoughts_without_end_are_no_answer() -> None:
    batches = ((float(now), Batch(thinking=".", alive=True)) for now in range(0, int(3 * MAX_REQUEST_TIME), 50))
    *_, last = _hear(_filter(), batches)
    assert (last.error and last.error.kind) is ErrorKind.TIMEOUT


def test_pings_after_the_end_put_off_nothing() -> None:
    one = _filter()
    assert one.take(Batch("So.", finish_reason="stop", alive=True), 1).finish_reason is None
    ends = [one.take(Batch(finish_reason="stop", alive=True), 1 + tenth / 10).finish_reason for tenth in range(30)]
    assert "stop" in ends


@pytest.mark.parametrize("nothing", ["\n\n", " ", "\u200b"])
def test_a_blank_thought_is_none(nothing: str) -> None:
    thoughts = Thinking()
    one = _filter(thoughts=thoughts)
    assert one.take(Batch(thinking=nothing, alive=True), 1) == StreamOutput()
    output = one.take(Batch("So."), 9)
    assert output == StreamOutput(text="So.", thinking_ms=0)
    assert Thinking(output.thinking, output.thinking_ms).seconds is None
    assert one.take(Batch(thinking="But."), 10).thinking == nothing + "But."


EVENTS = st.builds(
    Batch,
    text=st.text(" \n\u200bab🎉", max_size=4),
    finish_reason=st.sampled_from([None] * 8 + list(get_args(FinishReason))),
    error=st.sampled_from([None] * 8 + [ProviderError(ErrorKind.BROKEN_STREAM)]),
    ended=st.sampled_from([False] * 8 + [True]),
    thinking=st.text("hm \n", max_size=4),
    alive=st.booleans(),
)


@given(st.lists(st.tuples(st.floats(0, 400), EVENTS), max_size=30), st.booleans(), st.booleans())
def test_whatever_comes_ends_and_is_told_whole(
    steps: list[tuple[float, Batch]], begun: bool, prefilled: bool
) -> None:
    one = _filter("Before " if begun else "", prefilled=prefilled)
    now, text, thought = 0.0, "", ""
    heard = StreamOutput()
    for passed, batch in [*steps, (1.0, END)]:
        now += passed
        heard = one.take(batch, now)
        text += heard.text
        thought += heard.thinking
        if heard.error or heard.finish_reason:
            break
    assert bool(heard.error) != bool(heard.finish_reason)
    assert begun or not text or not blank(text)
    said = "".join(batch.text for _, batch in steps)
    if not begun:
        assert said.startswith(text)
    if heard.finish_reason and not begun:
        assert not blank(text)
    assert "".join(batch.thinking for _, batch in steps).startswith(thought)
