"""GET /usage: what a user's answers have come to, and nobody else's."""

from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from core.runtime import Runtime
from tests.support.waiting import wait_for
from tests.web.api.test_session import _create, _problem
from tests.web.test_ownership import _person

ANSWER = {"prompt_tokens": 7, "completion_tokens": 11, "cost": "0.000036"}
"""What the provider reports of one by the model `good`, and that by its price."""


def _answered(client: FlaskClient, runtime: Runtime) -> str:
    session_id: str = _create(client)["session_id"]
    headers = {"X-Session-ID": session_id}
    assert client.post("/chat/sse", json={"message": "Why?"}, headers=headers).data  # to its end
    return session_id


def _usage(client: FlaskClient, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/usage{query}")
    assert answer.status_code == 200, answer.text
    return answer.get_json()  # type: ignore[no-any-return]


def test_answers_of_both_wires_count_and_stay_when_their_sessions_go(
    app: Flask, client: FlaskClient, other: FlaskClient, web_runtime: Runtime
) -> None:
    owner, stranger = _person(app), _person(app)
    session_id = _answered(owner, web_runtime)
    asked = {"model": "good", "messages": [{"role": "user", "content": "Why?"}]}
    assert owner.post("/v1/chat/completions", json=asked).status_code == 200
    _answered(other, web_runtime)
    assert owner.delete("/session", headers={"X-Session-ID": session_id}).status_code == 204

    used = wait_for(lambda: _usage(owner)["total"]["answers"] == 2 and _usage(owner))

    today = datetime.now(UTC).date().isoformat()
    both = {"answers": 2, "prompt_tokens": 14, "completion_tokens": 22, "cost": "0.000072"}
    assert (used["currency"], used["until"], used["total"]) == ("EUR", today, both)
    assert used["usage"] == [{"day": today, "model": "good", **both}]
    assert _usage(stranger)["usage"] == []
    _problem(client.get("/usage"), 401, "login-required")


@pytest.mark.parametrize("days", ["0", "367", "-1", "many"])
def test_days_are_bounded(app: Flask, days: str) -> None:
    problem = _problem(_person(app).get(f"/usage?days={days}"), 422, "invalid-body")
    assert problem["detail"] == "days: a number from 1 to 366 is needed."
