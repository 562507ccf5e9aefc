"""What the benchmark of streams counts, and that it fails when not all has arrived."""

import pytest

from bench.readers import Readers
from bench.servers import switchboard
from bench.streams import Load, _measure


def _event(stamp: int, offset: int) -> bytes:
    body = b'event:delta\ndata:{"at":0,"text":"%019d"}\nid:0a1b2c3d-%d\n\n' % (stamp, offset)
    return b"%x\r\n%s\r\n" % (len(body), body)


def test_an_event_that_is_told_twice_stands_for_none_that_is_lost() -> None:
    readers = Readers(0, [], greeted=True)
    block = b"".join([_event(100, 1), _event(200, 2), _event(200, 2), _event(400, 4)])
    top = readers.note(block, now=1000, top=0)
    assert (top, readers.note(_event(200, 2) + _event(500, 5), now=1000, top=top)) == (4, 5)
    assert list(readers.ages) == [900, 800, 600, 500]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the waits that only many readers need."""
    monkeypatch.setattr("bench.streams.ARRIVAL", 2.0)
    monkeypatch.setattr("bench.streams.SETTLE", 0.0)


def test_a_small_run_prints_that_all_has_arrived(hurried: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert _measure(Load(readers=12, sessions=4, rate=40, seconds=1, rounds=1), switchboard) > 0
    assert " 120/120 " in capsys.readouterr().out


def test_what_has_not_arrived_is_a_failure_with_the_count(hurried: None) -> None:
    class Promising(Load):
        """Wants one delivery more than there is to come, as if one had been lost."""

        @property
        def deliveries(self) -> int:
            return super().deliveries + 1

    with pytest.raises(SystemExit, match="1 of 13 events have not arrived"):
        _measure(Promising(readers=4, sessions=4, rate=12, seconds=1, rounds=1), switchboard)
