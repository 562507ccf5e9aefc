from typing import Any

import pytest
from flask.testing import FlaskClient

from core.messaging.consumers import Presence
from core.runtime import Runtime
from core.stores.redis import Redis
from web.app import create_app


@pytest.fixture
def lonely(runtime: Runtime) -> FlaskClient:
    """A web process without any workers."""
    return create_app(runtime).test_client()


def test_the_models_on_offer_are_listed(client: FlaskClient) -> None:
    listed = client.get("/config/models").get_json()
    assert listed["default"] == "good"
    good = next(model for model in listed["models"] if model["name"] == "good")
    assert good == {"name": "good", "label": "good", "provider": "openai", "context_tokens": 600, "available": True}


def test_a_healthy_system_is_ready(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"status": "ok"}
    response = client.get("/readyz")
    assert (response.status_code, response.get_json()) == (200, {"status": "ready"})


def test_a_missing_consumer_is_named(lonely: FlaskClient, redis: Redis) -> None:
    presence = Presence(redis)
    presence.announce(["sessions", "maintenance"], "worker@a")
    presence.announce(["sessions", "maintenance", "chat"], "worker@b")
    presence.withdraw(["sessions", "maintenance", "chat"], "worker@b")
    response = lonely.get("/readyz")
    assert response.status_code == 503
    never = [f"{job}, which has not run lately" for job in ("reaper", "sweep", "beat")]
    assert response.get_json(force=True)["missing"] == ["consumer of chat", *never]
    assert lonely.get("/healthz").status_code == 200


def test_a_missing_database_and_redis_are_named(settings: Any) -> None:
    away = settings.model_copy(
        update={
            "configured_redis_url": "redis://127.0.0.1:1",
            "configured_database_url": "postgresql://nobody@127.0.0.1:1/none",
        }
    )
    response = create_app(Runtime(away, redis_retries=0)).test_client().get("/readyz")
    assert (response.status_code, response.get_json(force=True)["missing"]) == (
        503,
        ["database", "redis", "broker"],
    )


def test_without_workers_a_creation_is_202_and_a_chat_is_503(
    lonely: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.api.session_creation.COMMAND_TIMEOUT", 0.1)
    chat = lonely.post("/chat", json={"message": "Why?"})
    assert chat.status_code == 503
    assert chat.headers["Retry-After"]
    assert chat.get_json(force=True)["type"] == "/problems/queue-slow"
    created = lonely.post("/session/create")
    assert created.status_code == 202
    assert "Preference-Applied" not in created.headers
    assert lonely.get(created.headers["Location"]).get_json() == {"state": "pending"}


def test_without_redis_nothing_hangs(settings: Any) -> None:
    away = settings.model_copy(update={"configured_redis_url": "redis://127.0.0.1:1"})
    client = create_app(Runtime(away, redis_retries=0)).test_client()
    for response in (client.post("/session/create"), client.post("/chat", json={"message": "Why?"})):
        assert response.status_code == 503
        assert response.headers["Retry-After"]
