"""Bodies that would take long to read, or are too long to be read."""

import json
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

import celery_config
from tests.support.runtime_of import runtime_of
from tests.web.api.test_session import _problem
from web.app import create_app
from web.auth.client_address import nearest_stranger
from web.openapi.declaration import declared_operation
from web.schemas.requests import SMALL_BODY

PASSWORD = "correct horse battery"
MARKS = "\u0301\u0316"
"""In the order that normalisation has to change, which takes time that grows with the square of their number."""


@pytest.mark.parametrize("times", [150, 600, 3_000])
def test_marks_in_an_address_or_a_password_take_no_time(client: FlaskClient, times: int) -> None:
    """As many as a body holds, as many as just don't fit into a field, and some that do."""
    began = time.process_time()
    for email, password in ((f"{MARKS * times}@example.org", PASSWORD), (f"{uuid7()}@example.org", MARKS * times)):
        raw = json.dumps({"email": email, "password": password}, ensure_ascii=False).encode()
        assert len(raw) < SMALL_BODY
        _problem(client.post("/auth/login", data=raw, content_type="application/json"), 401, "login-failed")
        refused = client.post("/auth/register", data=raw, content_type="application/json")
        assert refused.status_code in (201, 422)
        assert len(refused.data) < 1_000
    assert time.process_time() - began < 1


def test_a_long_wrong_password_is_answered_like_a_short_one(client: FlaskClient) -> None:
    email = f"{uuid7()}@example.org"
    assert client.post("/auth/register", json={"email": email, "password": PASSWORD}).status_code == 201
    answers = []
    for wrong in ("wrong wrong", "x" * 10_000):
        answers.append(client.post("/auth/login", json={"email": email, "password": wrong}))
        answers.append(client.delete("/auth/me", json={"password": wrong}))
        answers.append(
            client.post("/auth/password", json={"current_password": wrong, "new_password": "another good one"})
        )
    assert [answer.status_code for answer in answers] == [401] * 6
    assert [answer.data for answer in answers[:3]] == [answer.data for answer in answers[3:]]
    for answer in answers:
        _problem(answer, 401, "login-failed")
    _problem(
        client.post("/auth/password", json={"current_password": PASSWORD, "new_password": "x" * 10_000}),
        422,
        "password-refused",
    )


def test_every_route_but_chat_takes_small_bodies_only(app: Flask) -> None:
    """Every route, from the URL map itself, also those that expect none."""
    client = app.test_client()
    big = json.dumps({"x": "x" * SMALL_BODY}).encode()
    expected = 0
    for rule in app.url_map.iter_rules():
        operation = declared_operation(app.view_functions[rule.endpoint])
        body = operation.body if operation else None
        if body is None:
            continue
        path = rule.rule.replace("<uuid:login_id>", str(uuid7())).replace("<uuid:key_id>", str(uuid7()))
        method = next(iter((rule.methods or set()) - {"HEAD", "OPTIONS"}))
        sent = big if body.limit == SMALL_BODY else big.ljust(body.limit + 1)
        for headers in ({}, {"Idempotency-Key": str(uuid7())}):
            answer = client.open(path, method=method, data=sent, content_type="application/json", headers=headers)
            if answer.status_code != 401:  # a stranger's is not even looked at
                if path.startswith("/v1/"):  # in the shape of OpenAI's API
                    assert answer.status_code == 413
                else:
                    _problem(answer, 413, "request-entity-too-large")
                expected += 1
    assert expected > 12


def test_a_thousand_unknown_fields_are_one_complaint(client: FlaskClient) -> None:
    body = "{" + ",".join(f'"{number}":1' for number in range(25_000)) + "}"
    began = time.process_time()
    problem = _problem(client.post("/chat", data=body, content_type="application/json"), 422, "invalid-body")
    assert time.process_time() - began < 0.2
    assert problem["field"] == "0"


def test_a_long_unknown_field_is_not_repeated_whole(client: FlaskClient) -> None:
    problem = _problem(client.post("/chat", json={"x" * 100_000: 1, "message": "x"}), 422, "invalid-body")
    assert len(json.dumps(problem)) < 1_000


HUGE = {
    "lists": "[" * 200_000,
    "objects": '{"a":' * 40_000,
    "number": "9" * 200_000,
    "exponent": '{"message":1e' + "9" * 200_000 + "}",
    "fraction": '{"message":0.' + "9" * 200_000 + "}",
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_json_that_is_deep_or_huge_is_refused_at_once(client: FlaskClient, text: str) -> None:
    began = time.process_time()
    for headers in ({}, {"Idempotency-Key": str(uuid7())}):
        answer = client.post("/chat", data=text, content_type="application/json", headers=headers)
        assert answer.status_code in (400, 422)
    assert time.process_time() - began < 0.5


def test_a_long_list_of_forwarders_is_read_from_its_end_only(app: Flask) -> None:
    forwarded = "192.0.2.1," * 500_000 + "198.51.100.7"
    began = time.process_time()
    for _ in range(50):
        assert nearest_stranger("127.0.0.1", forwarded, 1) == "198.51.100.7"
    assert time.process_time() - began < 0.5


def test_sending_changes_no_configuration_of_others(app: Flask) -> None:
    """The web process gives up on the broker sooner than workers do; the configuration is one object for both."""
    before = dict(celery_config.broker_transport_options)
    create_app(runtime_of(app))
    assert celery_config.broker_transport_options == before
    assert "max_retries" not in before
