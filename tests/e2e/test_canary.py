"""Guests leave no trace: what they write, and where they come from, is found nowhere that it must not be."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from core.stores.redis import Redis
from tests.e2e.system import System, running
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for

CANARY = "canary5b1f77"
ADDRESS = "203.0.113.77"
AGENT = "CanaryBrowser/9c2e"
TRACES = (CANARY, ADDRESS, AGENT)


@pytest.fixture
def brief(tmp_path: Path, provider: ProviderServer) -> Iterator[System]:
    """A system behind a proxy, whose guests' sessions live for seconds."""
    models = tmp_path / "models.toml"
    models.write_text(provider.models_toml())
    options = {
        "SWITCHBOARD_MODELS": str(models),
        "SWITCHBOARD_ANONYMOUS_IDLE": "6s",
        "SWITCHBOARD_SWEEP_EVERY": "1s",
        "SWITCHBOARD_TRUSTED_PROXIES": "1",
    }
    with running(tmp_path / "state", **options) as system:
        yield system


def test_a_guest_leaves_no_trace(brief: System, provider: ProviderServer) -> None:
    headers = {"X-Forwarded-For": ADDRESS, "User-Agent": AGENT}
    with httpx2.Client(base_url=brief.base_url, headers=headers, trust_env=False, timeout=20) as guest:
        session_id = guest.post("/session/create").json()["session_id"]
        for model in ("good", "away", "cut", "error-in-stream", "thinks-aloud"):
            assert guest.post("/session/model", json={"model": model}).status_code == 200
            answered = guest.post("/chat/sse", json={"message": f"{CANARY} asks {model}"})
            assert answered.text.rstrip().rpartition("event:")[2].startswith(("done", "failed"))

        answer = guest.get("/session/messages").json()["messages"][-1]
        assert CANARY in answer["thinking"]
        assert guest.post("/chat/regenerate", json={"model": "good"}).status_code == 202
        wait_for(lambda: guest.get("/session/messages").json()["messages"][-1]["state"] == "complete")
        assert guest.post("/session/branch", json={"message_id": answer["id"]}).json()["leaf"] == answer["id"]
        provider.go_on.clear()
        assert guest.post("/session/model", json={"model": "paused"}).status_code == 200
        assert guest.post("/chat", json={"message": f"{CANARY} asks"}).status_code == 202
        waits = guest.post("/chat", json={"message": f"{CANARY} waits", "while_busy": "queue"}).json()
        assert waits["state"] == "waiting"
        edited = guest.patch(f"/session/queue/{waits['generation_id']}", json={"message": f"{CANARY} waits on"})
        assert edited.status_code == 200

        redis = Redis.from_url(f"unix://{brief.state_dir / 'valkey.sock'}", decode_responses=True)
        own = f"sb:{{{session_id}}}:"
        words = [key for key in redis.scan_iter() if CANARY in _value(redis, key)]
        assert words, "the words are nowhere: this test would find nothing either"
        assert all(key.startswith(own) and redis.pttl(key) > 0 for key in words)
        _assert_clean(brief, redis, but=own)

        wait_for(lambda: not [key for key in redis.scan_iter() if session_id in key], what="the sweep")
        assert guest.get("/session/current").json()["type"] == "/problems/session-expired"
        _assert_clean(brief, redis, but=None)


def _assert_clean(system: System, redis: Redis, but: str | None) -> None:
    """No trace in any key of Redis (the broker's among them), in the database, the logs, or Flower."""
    places = {key: key + _value(redis, key) for key in redis.scan_iter() if but is None or not key.startswith(but)}
    files = [*system.state_dir.glob("*.db*"), *(system.state_dir / "logs").iterdir()]
    places |= {path.name: path.read_bytes().decode("latin-1") for path in files}
    places |= _flower(system)
    found = [(name, trace) for name, text in places.items() for trace in TRACES if trace in text]
    assert not found
    assert any("chat.generate" in text for name, text in places.items() if name.startswith("flower"))


def _flower(system: System) -> dict[str, str]:
    """What Flower shows of the tasks and the workers, each task's own page included."""
    columns = "&".join(f"columns[{index}][data]={name}" for index, name in enumerate(("name", "uuid")))
    listed = (
        f"/tasks/datatable?draw=1&start=0&length=1000&search[value]=&order[0][column]=0&order[0][dir]=asc&{columns}"
    )
    with httpx2.Client(base_url=system.flower_url, trust_env=False, timeout=20) as flower:
        tasks = flower.get(listed).raise_for_status()
        uuids = [task["uuid"] for task in tasks.json()["data"]]
        assert uuids
        pages = {f"flower task {uuid}": flower.get(f"/task/{uuid}").raise_for_status().text for uuid in uuids}
        return pages | {"flower tasks": tasks.text, "flower workers": flower.get("/workers?json=1").text}


def _value(redis: Redis, key: str) -> str:
    match redis.type(key):
        case "string":
            return repr(redis.get(key))
        case "list":
            return repr(redis.lrange(key, 0, -1))
        case "hash":
            return repr(redis.hgetall(key))
        case "set":
            return repr(redis.smembers(key))
        case "zset":
            return repr(redis.zrange(key, 0, -1, withscores=True))
        case "stream":
            return repr(redis.xrange(key))
    return ""  # it has expired in between
