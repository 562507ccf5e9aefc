"""Redis Cluster, which no process starts with."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.operations.preflight.redis import redis_mistake
from core.settings import Settings
from tests.support.sentinel import Server
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.workers.local_process import OPTIONS, ROOT


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """The URL of a node of a cluster."""
    server = Server(["cluster-enabled yes"])
    url = f"redis://127.0.0.1:{server.port}"
    wait_for(lambda: "Ready to accept" in server.logs(), what="it answers")
    yield url
    server.close()


def test_a_node_is_a_mistake_and_one_server_is_none(node: str, valkey: Valkey) -> None:
    assert "is a node of a Redis Cluster" in str(redis_mistake("BROKER_URL", node))
    assert redis_mistake("REDIS_URL", valkey.url) is None


@pytest.mark.parametrize(
    "command",
    [
        ["gunicorn", "--config", "web/gunicorn.py", "web.app:create_app()"],
        ["celery", "--app", "workers.app", "worker", "--pool", "solo"],
    ],
    ids=["web", "worker"],
)
def test_no_process_starts_with_one(node: str, tmp_path: Path, command: list[str]) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not OPTIONS.match(name)},
        "REDIS_URL": node,
        "SWITCHBOARD_STATE_DIR": str(tmp_path),
    }
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    assert result.stderr.startswith(f"switchboard: REDIS_URL={node}")
    assert "it is a node of a Redis Cluster, which is not supported" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_clusters_url_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(ValueError, match="Redis Cluster is not supported; name one server, or Sentinel"):
        Settings(configured_redis_url="redis+cluster://one:6379")
