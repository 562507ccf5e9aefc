"""Errors below /v1, whatever refuses the request, are in the shape that OpenAI's clients know."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from web.api.openai.errors import error_of, for_failed_answer


def _told(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.mimetype == "application/json"
    error: dict[str, Any] = response.get_json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_whatever_refuses_a_request_below_v1_says_so_in_openais_shape(client: FlaskClient) -> None:
    response = client.get("/v1/models")
    assert _told(response, 401)["code"] == "invalid_api_key"
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert _told(client.get("/v1/models", headers={"Authorization": "Bearer sk-no"}), 401)["type"] == (
        "authentication_error"
    )
    for path in ("/v1/nothing/here", "/v1", "/v1/"):
        assert _told(client.get(path), 404)["code"] == "not_found"
    response = client.delete("/v1/models")
    assert _told(response, 405)["type"] == "invalid_request_error"
    assert "GET" in response.headers["Allow"]
    assert "POST /v1/embeddings" in client.post("/v1/embeddings", json={}).get_json()["error"]["message"]
    # Elsewhere errors stay what they are.
    for path in ("/nothing/here", "/v10"):
        assert client.get(path).mimetype == "application/problem+json"


@pytest.mark.parametrize(
    ("field", "param"),
    [("messages.3.content", "messages[3].content"), ("stop.0", "stop[0]"), ("n", "n"), (None, None)],
)
def test_a_field_is_named_as_openai_names_it(field: str | None, param: str | None) -> None:
    problem = {"type": "/problems/invalid-body", "title": "No", "status": 422, "detail": "Wrong.", "field": field}
    assert error_of(problem) == {
        "error": {"message": "Wrong.", "type": "invalid_request_error", "param": param, "code": "invalid_value"}
    }


@pytest.mark.parametrize(
    ("problem", "slug"),
    [
        ({"reason": "too-long", "tokens": 9000, "limit": 8192}, "context-length-exceeded"),
        ({"reason": "filtered"}, "content-filter"),
        ({"reason": "timeout"}, "provider-failed"),
        ({"type": "/problems/unknown-model"}, "unknown-model"),
    ],
)
def test_a_failed_answer_is_the_error_of_its_reason(problem: dict[str, Any], slug: str) -> None:
    told = for_failed_answer({"type": "/problems/provider-failed", "title": "Failed", **problem}, "Tiny")
    assert told.slug == slug
    if slug == "context-length-exceeded":
        assert "8192" in told.detail
