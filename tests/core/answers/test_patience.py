"""How long is too long: first token, between tokens, after the end, and altogether."""

import pytest

from core.answers.patience import LONGEST_TIME, PARTING, Patience
from core.answers.pump import Batch
from core.providers import ErrorKind, ProviderError

FIRST, BETWEEN = 60.0, 30.0
QUIET = Batch("", False, None, None, None)
WORDS = QUIET._replace(text="Because")
REASON = QUIET._replace(finish_reason="stop")


def _patience() -> Patience:
    return Patience(FIRST, BETWEEN, now=0)


def test_the_first_token_may_take_longer_than_the_next() -> None:
    patience = _patience()
    assert not patience.has_had_enough(QUIET, FIRST)
    assert not patience.has_had_enough(WORDS, FIRST + 1)
    assert not patience.has_had_enough(QUIET, FIRST + 1 + BETWEEN)
    with pytest.raises(ProviderError) as silent:
        patience.has_had_enough(QUIET, FIRST + 2 + BETWEEN)
    assert silent.value.kind is ErrorKind.TIMEOUT


def test_who_never_says_a_word_is_given_up() -> None:
    with pytest.raises(ProviderError):
        _patience().has_had_enough(QUIET, FIRST + 1)


def test_after_the_end_silence_is_no_failure_and_is_not_waited_for_long() -> None:
    patience = _patience()
    assert not patience.has_had_enough(WORDS, 1)
    assert not patience.has_had_enough(REASON, 20)
    assert not patience.has_had_enough(REASON, 20 + PARTING)
    assert patience.has_had_enough(REASON, 21 + PARTING)


def test_the_end_of_the_stream_is_enough() -> None:
    assert _patience().has_had_enough(REASON._replace(ended=True), 1)


def test_who_never_comes_to_an_end_is_cut_short() -> None:
    patience = _patience()
    moment = 0.0
    while not patience.has_had_enough(WORDS, moment):
        moment += BETWEEN - 1
    assert LONGEST_TIME < moment <= LONGEST_TIME + BETWEEN
