"""A cluster of three RabbitMQ nodes, of which the one that everybody speaks to is lost."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from celery_config import QueueNames
from tests.engines.installation import Installation, guest
from tests.support.provider import ProviderServer
from tests.support.rabbitmq import RabbitMQ
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from web.monitoring.queue_lengths import Queues


@pytest.fixture
def cluster() -> Iterator[list[RabbitMQ]]:
    """Three nodes."""
    nodes = [RabbitMQ()]
    try:
        nodes += [RabbitMQ(first=nodes[0]), RabbitMQ(first=nodes[0])]
        yield nodes
    finally:
        for node in reversed(nodes):
            node.close()


def test_a_node_is_lost_and_no_command_with_it(
    cluster: list[RabbitMQ], valkey: Valkey, provider: ProviderServer, database_url: str, tmp_path: Path
) -> None:
    url = ";".join(node.url for node in cluster)
    parts = Installation(
        tmp_path, provider, valkey.url, database_url, BROKER_URL=url, SWITCHBOARD_QUEUE_TYPE="quorum"
    )
    try:
        with guest(parts.web.url, "paused") as someone:
            provider.go_on.clear()
            someone.ask()
            someone.begun(8)
            parts.worker.stop(20)
            others = [_Visitor(parts.web.url) for _ in range(3)]
            wait_for(lambda: Queues(url).lengths(QueueNames.ALL)["sessions"] == 3, what="the commands wait")
            cluster[0].kill()
            parts.worker.restart(20)
            provider.go_on.set()
            assert someone.ended() == "done"
            assert someone.text() == someone.answer()
            for other in others:
                wait_for(other.answered, what="the command is carried out")
                other.http.close()
    finally:
        parts.close()


class _Visitor:
    """Somebody who asks for a session and does not wait for it."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.Client(base_url=url, trust_env=False, timeout=10)
        answer = self.http.post("/session/create", headers={"Prefer": "respond-async"})
        assert answer.status_code == 202
        self._task = answer.headers["Location"]

    def answered(self) -> bool:
        """Whether the session has been created."""
        return bool(self.http.get(self._task).json().get("state") == "done")
