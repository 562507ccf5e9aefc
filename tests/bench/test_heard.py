"""What a reader has got is counted exactly, however the stream is cut."""

import pytest

from bench.provider import TOKEN_LENGTH, Manner
from bench.rivals.heard import Heard


def _token(number: int) -> bytes:
    return f"{number:04}.{1_000_000 * number:019} ".encode()


def _event(number: int) -> bytes:
    return b'id:7-1\nevent:delta\ndata:{"text":"%s"}\n\n' % _token(number)


@pytest.mark.parametrize("size", [1, 7, 24, 25, 26, 1000])
def test_blocks_may_be_cut_anywhere(size: int) -> None:
    stream = b"".join(_event(number) for number in range(5))
    heard = Heard()
    for start in range(0, len(stream), size):
        heard.take(stream[start : start + size])
    assert list(heard.numbers) == [0, 1, 2, 3, 4]
    assert list(heard.sent) == [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]
    assert heard.whole(5)
    assert not heard.whole(6)


def test_an_end_that_is_cut_is_found() -> None:
    heard = Heard()
    assert b"event:done" not in heard.take(_event(0) + b"event:d")
    assert b"event:done" in heard.take(b"one\ndata:{}\n\n")


def test_what_is_lost_and_what_is_doubled() -> None:
    heard = Heard()
    heard.take(b"".join(map(_token, (0, 1, 1, 3))))
    assert heard.lost(5) == 2 * TOKEN_LENGTH
    assert heard.doubled == TOKEN_LENGTH
    assert not heard.whole(4)


def test_words_in_the_wrong_order_are_not_the_answer() -> None:
    heard = Heard()
    heard.take(_token(1) + _token(0))
    assert not heard.whole(2)
    assert not Manner(2, 20).is_whole((_token(1) + _token(0)).decode())
    assert Manner(2, 20).is_whole((_token(0) + _token(1)).decode())


def test_the_longest_pause_may_be_before_the_first_word() -> None:
    heard = Heard(asked=0)
    heard.numbers.extend([0, 1])
    heard.arrived.extend([3_000_000_000, 4_000_000_000])
    assert heard.longest_pause == 3
