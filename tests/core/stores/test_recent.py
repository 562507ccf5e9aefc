import pytest

from core.stores.recent import Recent


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test turns."""
    now = [100.0]
    monkeypatch.setattr("core.stores.recent.time.monotonic", lambda: now[0])
    return now


def test_a_value_is_read_again_once_it_is_old_or_was_forgotten(clock: list[float]) -> None:
    asked: list[str] = []

    def read(name: str) -> int:
        asked.append(name)
        return len(asked)

    values = Recent(read, max_age=1.0)
    assert [values.get("a"), values.get("a"), values.get("b")] == [1, 1, 2]
    clock[0] += 1.1
    assert [values.get("a"), values.get("a")] == [3, 3]
    values.forget("a")
    assert values.get("a") == 4


def test_what_can_t_be_read_is_not_kept() -> None:
    def read(_: str) -> int:
        raise LookupError

    values = Recent(read, max_age=1.0)
    for _ in range(2):
        with pytest.raises(LookupError):
            values.get("a")
