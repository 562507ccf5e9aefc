"""An answer ends before the first of its stop sequences, in whatever pieces it comes."""

import time

from hypothesis import given
from hypothesis import strategies as st

from core.generation.batch import Batch
from core.generation.deadlines import Deadlines
from core.generation.stop_sequences import StopSequences
from core.generation.stream_filter import StreamFilter
from core.generation.thinking import Thinking
from core.llm.providers.base import ErrorKind, ProviderError, Sampling

WORDS = st.text("ab\n", max_size=12)


@given(st.lists(WORDS, max_size=6), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=4))
def test_pieces_end_where_the_whole_does(pieces: list[str], sequences: list[str]) -> None:
    stop = StopSequences(sequences)
    told = "".join(map(stop.feed, pieces)) + stop.flush()
    whole = "".join(pieces)
    # The first to be complete ends it: nothing of what came with or before it is told.
    ends = [len(told) + len(sequence) for sequence in sequences if whole[len(told) :].startswith(sequence)]
    assert whole.startswith(told)
    assert stop.met == bool(ends) == any(sequence in whole for sequence in sequences)
    assert stop.met or told == whole


def test_what_can_be_no_beginning_is_not_held_back() -> None:
    stop = StopSequences(["###"])
    assert [stop.feed(piece) for piece in ("a", "#", "#b", "##", "# c")] == ["a", "", "##b", "", ""]
    assert stop.met


def _filter(sampling: Sampling, text: str = "") -> StreamFilter:
    thinking = Thinking("", 0, stale=False)
    return StreamFilter(text, thinking, Deadlines(9, 9, time.monotonic()), prefilled=True, sampling=sampling)


def test_only_at_the_end_is_what_may_begin_a_sequence_told() -> None:
    sampling, now = Sampling(stop=("END!",)), time.monotonic()
    words = Batch("That is all. EN", alive=True)
    for last, told in (
        (Batch(ended=True, error=ProviderError(ErrorKind.BROKEN_STREAM, "cut")), ""),
        (Batch(ended=True, error=ProviderError(ErrorKind.FILTERED, "cut")), "EN"),
        (Batch(ended=True, finish_reason="length"), "EN"),
    ):
        answer = _filter(sampling)
        assert [answer.take(words, now).text, answer.take(last, now).text] == ["That is all. ", told]


def test_who_asks_for_an_early_end_may_get_it_before_the_first_word() -> None:
    ended = Batch(ended=True, finish_reason="length")
    now = time.monotonic()
    assert _filter(Sampling(max_tokens=1)).take(ended, now).finish_reason == "length"
    assert _filter(Sampling()).take(ended, now).error is not None
    at_once = _filter(Sampling(stop=("\n",))).take(Batch("\nHi", alive=True), now)
    assert (at_once.text, at_once.finish_reason) == ("", "stop")
