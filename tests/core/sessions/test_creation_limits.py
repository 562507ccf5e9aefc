"""Who may create a session, checked before anything is queued."""

from typing import Any

import pytest
from uuid_utils.compat import uuid7

from core.errors import Unavailable, UnknownModel
from core.limits.status import RateLimited
from core.runtime import Runtime
from core.settings import Settings

ADDRESS = "192.0.2.1"


def test_an_address_may_create_a_burst_of_sessions(runtime: Runtime) -> None:
    for left in (4, 3, 2, 1, 0):
        (limit_status,) = runtime.creation_limits.admit(None, address=ADDRESS).limit_statuses
        assert (limit_status.policy, limit_status.remaining) == ("create", left)
    with pytest.raises(RateLimited) as refused:
        runtime.creation_limits.admit(None, address=ADDRESS)
    assert refused.value.problem()["limit"] == "create"
    assert runtime.creation_limits.admit(None, address="192.0.2.2").admitted


def test_all_addresses_together_have_a_limit(settings: Any) -> None:
    runtime = Runtime(Settings(**dict(settings) | {"limit_create_global": "2/h"}))
    for last in (1, 2):
        runtime.creation_limits.admit(None, address=f"192.0.2.{last}")
    with pytest.raises(RateLimited) as refused:
        runtime.creation_limits.admit(None, address="198.51.100.1")
    assert refused.value.problem()["limit"] == "create-global"
    # How many others come is nobody's business but when it is the reason. The sender's own address was not charged.
    assert [(limit_status.policy, limit_status.remaining) for limit_status in refused.value.limit_statuses] == [
        ("create", 5),
        ("create-global", 0),
    ]
    runtime.close()


def test_an_unknown_model_costs_nothing(runtime: Runtime) -> None:
    with pytest.raises(UnknownModel):
        runtime.creation_limits.admit("gpt-9", address=ADDRESS)
    assert runtime.creation_limits.admit("good", address=ADDRESS).limit_statuses[0].remaining == 4


def test_users_are_counted_by_themselves_and_not_by_their_address(settings: Any) -> None:
    runtime = Runtime(Settings(**dict(settings) | {"limit_create_user": "10/h:2", "limit_create": "20/h:1"}))
    ada, eve = uuid7(), uuid7()
    for user in (ada, eve):
        for left in (1, 0):
            (limit_status,) = runtime.creation_limits.admit(None, user, address=ADDRESS).limit_statuses
            assert (limit_status.policy, limit_status.remaining) == ("create", left)
        with pytest.raises(RateLimited):
            runtime.creation_limits.admit(None, user, address="192.0.2.2")
    assert runtime.creation_limits.admit(None, address=ADDRESS).admitted
    runtime.close()


def test_without_a_limiter_nobody_is_let_in(settings: Any) -> None:
    runtime = Runtime(Settings(**dict(settings) | {"configured_redis_url": "redis://127.0.0.1:1"}))
    with pytest.raises(Unavailable):
        runtime.creation_limits.admit(None, address=ADDRESS)
    runtime.close()
