"""What the benchmark of returning readers counts, and a tiny run of it."""

import pytest

from bench.reconnect import DISTURBANCE, Load, measure
from bench.returning import Reader
from tests.support.valkey import Valkey


def _event(offset: int) -> bytes:
    body = b"event:delta\ndata:{}\nid:0a1b2c3d-%d\n\n" % offset
    return b"%x\r\n%s\r\n" % (len(body), body)


def test_a_reader_counts_what_it_lacks_and_what_it_got_twice() -> None:
    reader = Reader(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    stream = b"".join(map(_event, (1, 2, 2, 5, 6)))
    for at in range(0, len(stream), 7):
        reader.take(stream[at : at + 7])
    assert (reader.at, reader.doubled, reader.skipped) == (6, 1, 2)
    assert reader.greeting == b"GET / HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0a1b2c3d-6\r\n\r\n"


def test_all_come_back_and_are_told_everything_once(own_valkey: Valkey, capsys: pytest.CaptureFixture[str]) -> None:
    measure(Load(readers=20, others=5, rate=20, seconds=1, missed=3), own_valkey)
    assert capsys.readouterr().out.startswith("20 of 20 readers were back and told 3 events each")


@pytest.mark.timing
def test_those_that_come_back_at_once_delay_nobody(own_valkey: Valkey) -> None:
    load = Load(readers=400, others=20, rate=400, seconds=3, missed=2)
    # One round of three: a neighbour on the machine delays one, what is wrong delays all.
    delays: list[float] = []
    while len(delays) < 3 and min(delays, default=DISTURBANCE) >= DISTURBANCE:
        delays.append(measure(load, own_valkey).others_p99)
    assert min(delays) < DISTURBANCE
