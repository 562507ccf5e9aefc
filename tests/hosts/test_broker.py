"""RabbitMQ with quorum queues on three hosts: the node that everybody speaks to is cut off in the middle of an answer
and comes back, and the next one is killed."""

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

from celery_config import QueueNames, broker_heartbeat
from tests.engines.installation import LEASE, Installation, guest
from tests.engines.test_rabbitmq import sender_to, taken
from tests.support.hosts import Hosts
from tests.support.provider import ANSWER, ProviderServer
from tests.support.rabbitmq import RabbitMQ
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from web.monitoring.queue_lengths import Queues

NAMES = ("one", "two", "three")
MARGIN = 5
"""Seconds that a pause may last beyond what it waits for."""
NOTICED = 2.5 * broker_heartbeat
"""Seconds after which a worker gives up a connection that says nothing."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Three hosts beside this one."""
    made = Hosts(*NAMES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def cluster(hosts: Hosts) -> Iterator[Mapping[str, RabbitMQ]]:
    """A node on each of them."""
    nodes: dict[str, RabbitMQ] = {}
    try:
        for name in NAMES:
            nodes[name] = RabbitMQ(address=hosts.address(name), first=nodes.get("one"), within=hosts.within(name))
        yield nodes
    finally:
        for node in reversed(nodes.values()):
            node.close()


@pytest.fixture(scope="module")
def model() -> Iterator[ProviderServer]:
    """A model server of this module's own."""
    server = ProviderServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def installation(
    cluster: Mapping[str, RabbitMQ],
    model: ProviderServer,
    valkey: Valkey,
    _migrated_sqlite: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """A web server and a worker on this host, whose commands go over the cluster."""
    directory = tmp_path_factory.mktemp("cluster")
    (directory / "test.db").write_bytes(_migrated_sqlite.read_bytes())
    url = ";".join(node.url for node in cluster.values())
    database = f"sqlite:///{directory / 'test.db'}"
    parts = Installation(directory, model, valkey.url, database, BROKER_URL=url, SWITCHBOARD_QUEUE_TYPE="quorum")
    yield parts
    parts.close()


@pytest.mark.timeout(300)  # the cluster takes a minute to start on a busy machine
@pytest.mark.parametrize("end", ["cut off", "killed"])
def test_a_node_is_lost_and_neither_an_answer_nor_a_command_with_it(
    end: str,
    hosts: Hosts,
    cluster: Mapping[str, RabbitMQ],
    installation: Installation,
    model: ProviderServer,
    valkey: Valkey,
) -> None:
    lost = next(name for name in NAMES if hosts.address(name) in installation.worker.peers())
    others = [node for name, node in cluster.items() if name != lost]
    sender = sender_to(";".join(node.url for node in others), valkey)
    model.go_on.clear()
    with guest(installation.web.url, "paused") as someone, guest(installation.web.url) as another:
        someone.ask()
        someone.begun(8)
        lost_at = time.monotonic()
        if end == "cut off":
            hosts.cut(lost)
        else:
            cluster[lost].kill()
        asking = threading.Thread(target=another.ask)
        asking.start()
        wait_for(lambda: taken(sender), seconds=60, what="the other nodes keep messages")
        failover = time.monotonic() - lost_at
        assert another.ended(60) == "done"
        waited = time.monotonic() - lost_at
        asking.join()
        assert another.text() == another.answer() == ANSWER
        assert waited < NOTICED + failover + MARGIN
        model.go_on.set()
        assert someone.ended() == "done"
        assert someone.text() == someone.answer()
        assert someone.longest_pause() < LEASE + failover + MARGIN
        # Neither session is locked, and commands and their replies find their way.
        for each in (someone, another):
            each.told.clear()
            wait_for(lambda one=each: one.asks("And?"), what="another question is taken")  # type: ignore[misc]
            assert each.ended() == "done"
        wait_for(lambda: someone.http.post("/session/create").status_code == 201, what="a session is created")
    if end == "cut off":
        hosts.mend(lost)
    else:
        cluster[lost].start()
    wait_for(lambda: others[0].running() == len(cluster), seconds=60, what="the cluster is whole again")


def test_commands_that_wait_outlive_their_node(
    hosts: Hosts, cluster: Mapping[str, RabbitMQ], installation: Installation
) -> None:
    lost = next(node for name, node in cluster.items() if hosts.address(name) in installation.worker.peers())
    installation.worker.stop(20)
    visitors = [_Visitor(installation.web.url) for _ in range(3)]
    queues = Queues(lost.url)
    wait_for(lambda: queues.lengths(QueueNames.ALL)["sessions"] == len(visitors), what="the commands wait")
    lost.kill()
    installation.worker.restart(20)
    for visitor in visitors:
        wait_for(visitor.answered, what="the command is carried out")
        visitor.http.close()


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
