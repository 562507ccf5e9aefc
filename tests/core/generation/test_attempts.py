"""How long an attempt keeps its session's log."""

from datetime import UTC, datetime, timedelta

import pytest
from uuid_utils.compat import uuid7

from core.generation.attempts import OWNED_LOG_TTL, keep_log_until
from core.runtime import Runtime
from core.stores.tables import Session
from tests.core.generation.asking import ask

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOON, LATE = NOW + timedelta(hours=1), NOW + timedelta(days=30)


@pytest.mark.parametrize(
    ("anonymous", "expires_at", "until"),
    [
        (True, SOON, SOON),
        (True, LATE, LATE),
        (False, SOON, SOON),
        (False, LATE, NOW + OWNED_LOG_TTL),
    ],
)
def test_a_log_lives_as_long_as_its_words_are_only_there(
    anonymous: bool, expires_at: datetime, until: datetime
) -> None:
    session = Session(id=uuid7(), owner_id=None if anonymous else uuid7(), expires_at=expires_at)
    assert session.anonymous == anonymous
    assert keep_log_until(session, NOW) == until


def test_an_attempt_that_follows_another_shares_nothing_with_it(runtime: Runtime) -> None:
    asked = ask(runtime, "good")
    lost = runtime.attempts.claim(asked.generation_id)
    assert lost is not None
    follower = runtime.attempts.seize(lost)
    assert follower is not None
    assert (lost.number, follower.number) == (1, 2)
    parts = ("draft", "usage_meter", "stop_requested", "sequence")
    assert not [part for part in parts if getattr(lost, part) is getattr(follower, part)]
