"""GET /usage: what a user's answers have come to, and nobody else's."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient

from core.runtime import Runtime
from tests.support.waiting import wait_for
from tests.web.api.test_session import _create, _problem
from tests.web.test_ownership import _person


def _answered(client: FlaskClient) -> str:
    session_id: str = _create(client)["session_id"]
    headers = {"X-Session-ID": session_id}
    assert client.post("/chat/sse", json={"message": "Why?"}, headers=headers).data  # to its end
    return session_id


def _usage(client: FlaskClient, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/usage{query}")
    assert answer.status_code == 200, answer.text
    return answer.get_json()  # type: ignore[no-any-return]


def test_answers_of_both_wires_count_and_stay_when_their_sessions_go(
    app: Flask, client: FlaskClient, other: FlaskClient
) -> None:
    owner, stranger = _person(app), _person(app)
    session_id = _answered(owner)
    asked = {"model": "good", "messages": [{"role": "user", "content": "Why?"}]}
    assert owner.post("/v1/chat/completions", json=asked).status_code == 200
    _answered(other)
    assert owner.delete("/session", headers={"X-Session-ID": session_id}).status_code == 204

    used = wait_for(lambda: _usage(owner)["total"]["answers"] == 2 and _usage(owner))

    today = datetime.now(UTC).date().isoformat()
    # The provider reports 7 and 11 tokens; by the model's price 35.25 millionths each, rounded up.
    both = {"answers": 2, "prompt_tokens": 14, "completion_tokens": 22, "cost": "0.000072"}
    assert (used["currency"], used["until"], used["total"]) == ("EUR", today, both)
    assert used["usage"] == [{"day": today, "model": "good", **both}]
    assert _usage(stranger)["usage"] == []
    _problem(client.get("/usage"), 401, "login-required")


def test_a_users_own_limits_hold_on_every_wire_and_are_told(app: Flask, web_runtime: Runtime) -> None:
    owner = _person(app)
    web_runtime.users.change_limits(UUID(owner.get("/auth/me").get_json()["user_id"]), {"cost": "0.0001/d"})
    headers = {"X-Session-ID": _answered(owner)}

    cost, concurrent = _usage(owner)["limits"][-2:]

    assert (cost["name"], cost["quota"], cost["remaining"]) == ("cost", "0.000100", "0.000064")
    # 36 of 100 parts of a day.
    assert timedelta(hours=8) < datetime.fromisoformat(cost["resets_at"]) - datetime.now(UTC) < timedelta(hours=9)
    assert (concurrent["name"], concurrent["quota"]) == ("concurrent", 2)
    problem = _problem(owner.post("/chat", json={"message": "Why?"}, headers=headers), 429, "rate-limited")
    assert problem["limit"] == "cost"
    asked = {"model": "good", "messages": [{"role": "user", "content": "Why?"}]}
    assert owner.post("/v1/chat/completions", json=asked).status_code == 429


@pytest.mark.parametrize("days", ["0", "367", "-1", "many"])
def test_days_are_bounded(app: Flask, days: str) -> None:
    problem = _problem(_person(app).get(f"/usage?days={days}"), 422, "invalid-body")
    assert problem["detail"] == "days: a number from 1 to 366 is needed."
