"""No process's output ever has words or secrets, at whatever level and in whatever format, in good days and bad."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import make_url

from core.stores.redis import Redis
from tests.e2e.system import System, running
from tests.support.postgres import Postgres
from tests.support.provider import ProviderServer
from tests.support.valkey import Valkey

WORDS = "canary-words-5b1f77"
SECRET = "canary-secret-5b1f77"
OURS = ("web", "worker", "chat", "beat", "flower")


@pytest.fixture(params=["text", "json"])
def talkative(
    request: pytest.FixtureRequest, tmp_path: Path, provider: ProviderServer, postgres: Postgres, own_valkey: Valkey
) -> Iterator[System]:
    """A system that says all it can, and has a secret of each kind."""
    models = tmp_path / "models.toml"
    models.write_text(provider.models_toml().replace("[models.good]", '[models.good]\napi_key_env = "CANARY_KEY"'))
    own_valkey.client().config_set("requirepass", f"{SECRET}-redis")
    database = make_url(postgres.create()).set(password=f"{SECRET}-database")
    options = {
        "SWITCHBOARD_MODELS": str(models),
        "SWITCHBOARD_LOG_LEVEL": "debug",
        "SWITCHBOARD_LOG_FORMAT": request.param,
        "SWITCHBOARD_METRICS_TOKEN": f"{SECRET}-metrics",
        "CANARY_KEY": f"{SECRET}-model",
        "REDIS_URL": f"unix://:{SECRET}-redis@{own_valkey.socket}?db=0",
        "DATABASE_URL": database.render_as_string(hide_password=False),
        "PYTHONWARNINGS": "default",
    }
    with running(tmp_path / "state", **options) as system:
        yield system


def test_no_process_tells_words_or_secrets(talkative: System, own_valkey: Valkey) -> None:
    secrets = {WORDS, SECRET}
    with httpx2.Client(base_url=talkative.base_url, trust_env=False, timeout=20) as guest:
        guest.get("/", params={"q": WORDS})
        guest.get(f"/{WORDS}")
        guest.post("/session/create", json={"what": WORDS})
        guest.post("/session/create")
        secrets.add(_secret_of(guest))
        for model in ("good", "away", "cut", "error-in-stream", "thinks-aloud"):
            guest.post("/session/model", json={"model": model})
            guest.post("/chat/sse", json={"message": f"{WORDS} asks {model}"})
        guest.get("/metrics", headers={"Authorization": f"Bearer {SECRET}-metrics"})
        guest.get("/session/current", headers={"Authorization": f"Bearer sb_{'0' * 32}_{SECRET}"})
    with httpx2.Client(base_url=talkative.base_url, trust_env=False, timeout=20) as user:
        account = {"email": "ada@example.org", "password": f"{SECRET}-password"}
        assert user.post("/auth/register", json=account).status_code == 201
        user.post("/auth/login", json={**account, "password": f"{SECRET}-wrong"})
        secrets |= {cookie.value.partition(".")[2] for cookie in user.cookies.jar if cookie.value}
        key = user.post("/auth/keys", json={"name": WORDS}).json()["key"]
        secrets |= {key, key.rpartition("_")[2]}
        user.post("/session/create")
        user.post("/chat/sse", json={"message": WORDS})
    # What nobody expects: a log of the wrong kind, a message that is none, a store that is gone.
    redis = Redis.from_url(f"unix://:{SECRET}-redis@{own_valkey.socket}", decode_responses=True)
    redis.lpush("sessions", WORDS)
    redis.lpush("sessions", json.dumps({"body": WORDS, "headers": {"task": WORDS}, "properties": {}}))
    with httpx2.Client(base_url=talkative.base_url, trust_env=False, timeout=20) as guest:
        session_id = guest.post("/session/create").json()["session_id"]
        for key in redis.scan_iter(f"sb:{{{session_id}}}:*"):
            redis.delete(key)
        redis.set(f"sb:{{{session_id}}}:log", WORDS)
        guest.post("/chat", json={"message": WORDS})
        own_valkey.stop()
        guest.post("/chat", json={"message": WORDS})
        guest.get("/session/current")
    talkative.process.terminate()
    talkative.process.wait(30)  # without its Redis, and how long that takes is tested elsewhere

    outputs = {path.stem: path.read_text() for path in (talkative.state_dir / "logs").glob("*.log")}
    outputs["up"] = talkative.output
    found = [(name, secret) for name, text in outputs.items() for secret in secrets if secret in text]
    assert not found
    for name in OURS:
        assert outputs[name], f"{name} has said nothing: this test would find nothing either"
    if talkative.environment["SWITCHBOARD_LOG_FORMAT"] == "json":
        for name in (*OURS, "up"):
            for line in outputs[name].splitlines():
                _check(name, json.loads(line))


def _secret_of(client: httpx2.Client) -> str:
    (cookie,) = (cookie.value for cookie in client.cookies.jar if cookie.value)
    secret: str = cookie.partition(".")[2]
    assert len(secret) > 40
    return secret


def _check(name: str, line: dict[str, Any]) -> None:
    assert line["process"] == name
    assert line["level"] in ("debug", "info", "warning", "error", "critical")
    assert re.fullmatch(r"[\w.-]+", line["logger"])
    assert isinstance(line["message"], str)
    assert line["time"].endswith("Z")
    assert datetime.fromisoformat(line["time"]).year >= 2026
