from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.sessions.lifetime import Lifetime

BIRTH = datetime(2026, 1, 1, tzinfo=UTC)
seconds = st.integers(min_value=1, max_value=10**7).map(lambda value: timedelta(seconds=value))


def test_activity_moves_the_expiry_but_not_the_end() -> None:
    lifetime = Lifetime(idle=timedelta(minutes=30), absolute=timedelta(hours=1))
    ends_at = lifetime.ends(BIRTH)
    later = BIRTH + timedelta(minutes=20)
    assert lifetime.extension(later, BIRTH + timedelta(minutes=30), ends_at) == BIRTH + timedelta(minutes=50)
    last = BIRTH + timedelta(minutes=45)
    assert lifetime.extension(last, BIRTH + timedelta(minutes=50), ends_at) == ends_at


def test_a_busy_session_is_not_a_hot_row() -> None:
    lifetime = Lifetime(idle=timedelta(minutes=20), absolute=timedelta(days=1))
    ends_at = lifetime.ends(BIRTH)
    first = lifetime.expiry(BIRTH, ends_at)
    assert lifetime.extension(BIRTH + timedelta(seconds=59), first, ends_at) is None
    assert lifetime.extension(BIRTH + timedelta(seconds=60), first, ends_at) is not None


@given(idle=seconds, absolute=seconds, steps=st.lists(seconds, max_size=20))
def test_no_activity_ever_leads_past_the_end_or_backwards(
    idle: timedelta, absolute: timedelta, steps: list[timedelta]
) -> None:
    lifetime = Lifetime(idle, absolute)
    ends_at = lifetime.ends(BIRTH)
    now, expires_at = BIRTH, lifetime.expiry(BIRTH, ends_at)
    for step in steps:
        now += step
        if now >= expires_at:
            break
        extended = lifetime.extension(now, expires_at, ends_at)
        if extended is not None:
            assert expires_at < extended <= ends_at
            expires_at = extended
        # Whoever was just active has at least nineteen twentieths of the idle time, or the rest of the life.
        assert expires_at >= min(now + idle * 19 / 20, ends_at)
