"""How long is too long: first token, between tokens, after the end, and altogether."""

import pytest

from core.generation.batch import Batch
from core.generation.deadlines import DRAIN_TIMEOUT, MAX_REQUEST_TIME, Deadlines
from core.llm.providers.base import ErrorKind, ProviderError

FIRST, BETWEEN = 60.0, 30.0
QUIET = Batch("", False, None, None, None)
THOUGHT = QUIET._replace(thinking="Hmm")
WORDS = QUIET._replace(text="Because")
REASON = QUIET._replace(finish_reason="stop")


class _Deadlines:
    """With one request; `enough` says whether it has had enough."""

    def __init__(self) -> None:
        self._deadlines = Deadlines(FIRST, BETWEEN, now=0)
        self._begun = False

    def enough(self, batch: Batch, now: float) -> bool:
        self._begun = self._begun or bool(batch.text)
        return self._deadlines.expired(batch, now, begun=self._begun)


def test_the_first_token_may_take_longer_than_the_next() -> None:
    deadlines = _Deadlines()
    assert not deadlines.enough(QUIET, FIRST)
    assert not deadlines.enough(WORDS, FIRST + 1)
    assert not deadlines.enough(QUIET, FIRST + 1 + BETWEEN)
    with pytest.raises(ProviderError) as silent:
        deadlines.enough(QUIET, FIRST + 2 + BETWEEN)
    assert silent.value.kind is ErrorKind.TIMEOUT


@pytest.mark.parametrize("sign", [THOUGHT, QUIET._replace(text="\n\n"), QUIET._replace(alive=True)], ids=repr)
def test_before_the_first_word_that_can_be_seen_each_sign_begins_the_long_wait_anew(sign: Batch) -> None:
    deadlines = Deadlines(FIRST, BETWEEN, now=0)
    for count in range(1, 5):
        assert not deadlines.expired(sign, count * FIRST, begun=False)
    with pytest.raises(ProviderError):
        deadlines.expired(QUIET, 5 * FIRST + 1, begun=False)


def test_thinking_between_words_is_waited_for_as_for_words() -> None:
    deadlines = _Deadlines()
    assert not deadlines.enough(WORDS, 1)
    assert not deadlines.enough(THOUGHT, 2)
    with pytest.raises(ProviderError):
        deadlines.enough(QUIET, 3 + BETWEEN)


def test_a_server_that_never_says_a_word_is_given_up() -> None:
    with pytest.raises(ProviderError):
        _Deadlines().enough(QUIET, FIRST + 1)


def test_after_the_end_silence_is_no_failure_and_is_not_waited_for_long() -> None:
    deadlines = _Deadlines()
    assert not deadlines.enough(WORDS, 1)
    assert not deadlines.enough(REASON, 20)
    assert not deadlines.enough(REASON, 20 + DRAIN_TIMEOUT)
    assert deadlines.enough(REASON, 21 + DRAIN_TIMEOUT)


def test_the_end_of_the_stream_is_enough() -> None:
    assert _Deadlines().enough(REASON._replace(ended=True), 1)


def test_a_server_that_never_comes_to_an_end_is_cut_short() -> None:
    deadlines = _Deadlines()
    moment = 0.0
    while not deadlines.enough(WORDS, moment):
        moment += BETWEEN - 1
    assert MAX_REQUEST_TIME < moment <= MAX_REQUEST_TIME + BETWEEN
