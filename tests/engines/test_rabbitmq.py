"""RabbitMQ as the broker, with quorum queues: what is lost, what is refused, and how long anybody waits."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from broker.connection import AMQP
from broker.queue_length import queue_length
from broker.queue_type import mismatch
from celery_config import QueueNames, TaskNames, queues
from core.errors import Unavailable
from core.messaging.replies import Replies
from tests.engines.installation import Installation, guest
from tests.support.provider import ANSWER, ProviderServer
from tests.support.rabbitmq import PASSWORD, USER, RabbitMQ
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import free_port
from tests.workers.local_process import ROOT
from web.commands import Commands, new_sender
from web.monitoring.queue_lengths import Queues
from web.streaming.hub import Hub
from workers.beat import Scheduler


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A node of this module's own, to freeze and to kill."""
    node = RabbitMQ()
    yield node
    node.close()


@pytest.fixture(scope="module")
def installation(
    rabbitmq: RabbitMQ, valkey: Valkey, _migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A web server and a worker whose commands go over quorum queues."""
    provider = ProviderServer()
    directory = tmp_path_factory.mktemp("rabbitmq")
    database = directory / "test.db"
    database.write_bytes(_migrated_sqlite.read_bytes())
    parts = Installation(
        directory,
        provider,
        valkey.url,
        f"sqlite:///{database}",
        BROKER_URL=rabbitmq.url,
        SWITCHBOARD_QUEUE_TYPE="quorum",
    )
    yield parts
    parts.close()
    provider.stop()


def sender_to(url: str, valkey: Valkey) -> Commands:
    """What sends commands to the broker, as a web process does."""
    app: Celery = new_sender(url)
    app.conf.task_queues = queues("quorum")
    return Commands(app, Hub(valkey.client()), Replies(valkey.client()))


def _refused(sender: Commands) -> float:
    began = time.monotonic()
    with pytest.raises(Unavailable):
        sender._send(TaskNames.GENERATE, ["id"])
    return time.monotonic() - began


def test_questions_are_answered_and_what_waits_is_counted(installation: Installation, rabbitmq: RabbitMQ) -> None:
    with guest(installation.web.url) as someone:
        someone.ask()
        assert someone.ended() == "done"
        assert someone.text() == someone.answer() == ANSWER
    listed = dict(line.split("\t") for line in rabbitmq.control("list_queues", "name", "type").splitlines()[1:])
    assert {name: listed[name] for name in QueueNames.ALL} == dict.fromkeys(QueueNames.ALL, "quorum")
    assert not [name for name in listed if "delayed" in name]
    figures = httpx2.get(f"{installation.web.url}/metrics", trust_env=False).text
    assert 'switchboard_queue_length{queue="chat"} 0.0' in figures
    assert 'switchboard_up{store="broker"} 1.0' in figures


def test_a_frozen_broker_holds_up_no_request(installation: Installation, rabbitmq: RabbitMQ) -> None:
    client = httpx2.Client(base_url=installation.web.url, trust_env=False, timeout=10)
    wait_for(lambda: client.post("/session/create").status_code == 201, what="a command is carried out")
    rabbitmq.freeze()
    try:
        for method, path, status in (
            ("POST", "/session/create", 503),
            ("GET", "/readyz", 503),
            ("GET", "/metrics", 200),
        ):
            began = time.monotonic()
            assert client.request(method, path).status_code == status
            assert time.monotonic() - began < 2, path
    finally:
        rabbitmq.thaw()
    wait_for(lambda: client.post("/session/create").status_code == 201, what="commands are taken again")
    client.close()


def test_an_answer_goes_on_while_the_broker_is_killed_and_started(
    installation: Installation, rabbitmq: RabbitMQ
) -> None:
    with guest(installation.web.url, "story") as someone:
        someone.ask()
        someone.begun()
        rabbitmq.kill()
        rabbitmq.start()
        assert someone.ended() == "done"
        assert someone.text() == someone.answer()
        someone.told.clear()
        someone.ask("And?")
        assert someone.ended() == "done"
    assert installation.worker.status == "running"


EVERYTHING = (".*", ".*", ".*")


@pytest.mark.parametrize(
    ("refuse", "admit", "told"),
    [
        (
            ["change_password", USER, "another"],
            ["change_password", USER, PASSWORD],
            "it refuses the user or the password",
        ),
        (
            ["clear_permissions", USER],
            ["set_permissions", USER, *EVERYTHING],
            "it has no such virtual host, or not for this user",
        ),
        (
            ["set_permissions", USER, "^$", "^$", "^$"],
            ["set_permissions", USER, *EVERYTHING],
            "it refuses this user (ACCESS_REFUSED - access to ",
        ),
    ],
    ids=["another password", "another virtual host", "no permission for the queues"],
)
def test_a_broker_that_refuses_for_a_while_is_away_for_a_while(
    installation: Installation, rabbitmq: RabbitMQ, refuse: list[str], admit: list[str], told: str
) -> None:
    client = httpx2.Client(base_url=installation.web.url, trust_env=False, timeout=10)
    wait_for(lambda: client.post("/session/create").status_code == 201, what="a command is carried out")
    before = len(installation.worker.logs())

    def lines() -> list[str]:
        return [line for line in installation.worker.logs()[before:].splitlines() if told in line]

    with rabbitmq.refusing(refuse, admit):
        # A second line comes after a pause: one that tries without would have written hundreds.
        wait_for(lambda: len(lines()) >= 2, what="the worker tries again")
        answer = client.post("/session/create")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert "broker" in client.get("/readyz").json()["detail"]
        tries = lines()
    assert all("BROKER_URL=amqp://" in line and "next try in " in line for line in tries)
    assert len(tries) < 10
    assert told in installation.web.log
    wait_for(lambda: client.post("/session/create").status_code == 201, seconds=20, what="commands are taken again")
    assert installation.worker.status == "running"
    assert "Traceback" not in installation.worker.logs()[before:]
    client.close()


def test_a_broker_that_is_short_of_memory_is_named_and_holds_nobody_up(
    installation: Installation, rabbitmq: RabbitMQ
) -> None:
    client = httpx2.Client(base_url=installation.web.url, trust_env=False, timeout=10)
    redis, presence = installation.runtime.redis, installation.runtime.presence
    watching = Celery("watching", broker=rabbitmq.url, set_as_current=False, amqp=AMQP)
    wait_for(lambda: client.post("/session/create").status_code == 201, what="a command is carried out")
    with rabbitmq.short_of_memory():
        began = time.monotonic()
        answer = client.post("/session/create")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert time.monotonic() - began < 1
        assert "broker" in client.get("/readyz").json()["detail"]
        assert 'switchboard_up{store="broker"} 0.0' in client.get("/metrics").text
        assert "it takes no messages: it is short of memory or disk" in installation.web.log
        doctor = subprocess.run(
            [Path(sys.executable).with_name("switchboard"), "doctor"],
            cwd=ROOT,
            env={**installation.worker.environment, "PORT": str(httpx2.URL(installation.web.url).port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        (line,) = (line for line in doctor.stdout.splitlines() if " broker " in line)
        assert line.startswith("✗")
        assert line.endswith("it takes no messages: it is short of memory or disk")
        # To start the system would not help: it runs.
        found = doctor.stdout.splitlines()
        (at,) = (number for number, line in enumerate(found) if line.startswith("✗ web "))
        assert "/readyz answers 503: Missing: " in found[at]
        assert found[at + 1].strip() == "It runs: see to what is missing, in the lines above."
        began = time.monotonic()
        with pytest.raises(OperationalError):  # as Flower asks, every few seconds
            watching.control.enable_events()
        assert time.monotonic() - began < 1
        # Its heartbeats can't be sent, and do not keep it from anything else.
        for _ in range(2):
            redis.delete(*redis.scan_iter("sb:consumer:*"))
            wait_for(lambda: not presence.missing(QueueNames.ALL), seconds=10, what="the worker turns")
    wait_for(lambda: client.post("/session/create").status_code == 201, what="commands are taken again")
    client.close()
    watching.close()


@pytest.fixture
def empty_host(rabbitmq: RabbitMQ) -> Iterator[str]:
    """The URL of a virtual host whose queues no worker consumes."""
    rabbitmq.control("add_vhost", "empty")
    rabbitmq.control("set_permissions", "--vhost", "empty", USER, *EVERYTHING)
    yield rabbitmq.url.removesuffix("/") + "empty"
    rabbitmq.control("delete_vhost", "empty")


def test_beat_goes_on_after_the_broker_was_started_anew(
    rabbitmq: RabbitMQ, empty_host: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Celery("beat", set_as_current=False, amqp=AMQP)
    app.config_from_object("celery_config")
    app.conf.broker_url = empty_host
    scheduler, lengths = Scheduler(app), Queues(empty_host)
    entry = next(iter(scheduler.schedule.values()))

    def waiting() -> int:
        return lengths.lengths(QueueNames.ALL)[QueueNames.MAINTENANCE]

    scheduler.apply_entry(entry, producer=scheduler.producer)
    assert waiting() == 1
    rabbitmq.kill()
    for _ in range(2):
        scheduler.apply_entry(entry, producer=scheduler.producer)
    told = [each.getMessage() for each in caplog.records if each.name == "workers.beat"]
    assert told[-1].endswith(f"=amqp://{USER}:***@127.0.0.1:{rabbitmq.port}/empty: nothing listens there")
    assert len(told) == 2
    rabbitmq.start()

    before = waiting()
    scheduler.apply_entry(entry, producer=scheduler.producer)
    assert waiting() == before + 1
    scheduler.close()
    app.close()


@pytest.mark.parametrize("lost", ["queue", "exchange"])
def test_what_is_for_a_queue_that_was_deleted_is_not_lost(
    rabbitmq: RabbitMQ, empty_host: str, valkey: Valkey, lost: str
) -> None:
    sender, lengths = sender_to(empty_host, valkey), Queues(empty_host)
    sender._send(TaskNames.GENERATE, ["before"])
    with Connection(empty_host) as connection:
        channel = connection.channel()
        channel.queue_delete("chat") if lost == "queue" else channel.exchange_delete("chat")
    sender._send(TaskNames.GENERATE, ["after"])
    assert lengths.lengths(QueueNames.ALL)["chat"] == (1 if lost == "queue" else 2)


def test_a_queue_of_another_type_is_named(installation: Installation, rabbitmq: RabbitMQ) -> None:
    """By a worker that can't start, and by `switchboard doctor`."""
    environment = {**installation.worker.environment, "SWITCHBOARD_QUEUE_TYPE": "classic"}
    command = [sys.executable, "-m", "celery", "--app", "workers.app", "worker", "--queues", "chat", "--pool", "solo"]
    worker = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert worker.returncode == 1
    said = [line for line in worker.stderr.splitlines() if "CRITICAL" in line]
    assert len(said) == 1
    assert "chat exists on the broker, and not as SWITCHBOARD_QUEUE_TYPE=classic declares it" in said[0]
    assert "Traceback" not in worker.stderr
    app = new_sender(rabbitmq.url)
    app.conf.task_queues = queues("classic")
    explained = mismatch(app, "classic", "chat")
    assert explained
    assert explained in said[0]


def test_a_message_that_ends_all_its_workers_is_kept_aside_where_a_policy_says_so(rabbitmq: RabbitMQ) -> None:
    rabbitmq.control("set_policy", "dead", "^doomed$", '{"dead-letter-exchange":"","dead-letter-routing-key":"dead"}')
    with Connection(rabbitmq.url) as connection:
        channel = connection.channel()
        channel.queue_declare("dead", durable=True, auto_delete=False)
        (like, *_) = queues("quorum")
        doomed = Queue("doomed", queue_arguments=like.as_dict()["queue_arguments"])
        connection.Producer().publish("a message", routing_key="doomed", declare=[doomed])
        deliveries = 0

        def give_back() -> bool:
            nonlocal deliveries
            message = channel.basic_get("doomed")
            if message is not None:
                deliveries += 1
                channel.basic_reject(message.delivery_tag, requeue=True)
            return queue_length(connection, "dead") == 1

        wait_for(give_back, what="the message is kept aside")
    assert deliveries == 21


def test_of_several_brokers_one_that_lives_is_enough(rabbitmq: RabbitMQ, valkey: Valkey) -> None:
    url = f"amqp://127.0.0.1:{free_port()}//;{rabbitmq.url}"
    sender_to(url, valkey)._send(TaskNames.CHECK_INVARIANTS, [])
    Queues(url).ping()
    assert set(Queues(url).lengths(QueueNames.ALL)) == set(QueueNames.ALL)


def test_a_broker_that_does_not_confirm_has_not_taken_it_and_later_answers_are_not_mistaken(
    rabbitmq: RabbitMQ, valkey: Valkey
) -> None:
    sender = sender_to(rabbitmq.url, valkey)
    sender._send(TaskNames.GENERATE, ["before"])
    rabbitmq.freeze()
    try:
        assert _refused(sender) < 1
        assert _refused(sender) < 1
    finally:
        rabbitmq.thaw()
    wait_for(lambda: taken(sender), what="messages are taken again")


def test_flower_shows_the_lengths_of_the_queues_and_outlives_a_refusal(
    rabbitmq: RabbitMQ, installation: Installation, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        **installation.worker.environment,
        "FLOWER_PORT": str(port),
        "FLOWER_BROKER_API": f"http://{USER}:{PASSWORD}@127.0.0.1:{rabbitmq.management_port}/api/",
    }
    with (tmp_path / "flower.log").open("wb") as log:
        flower = subprocess.Popen(
            [Path(sys.executable).with_name("switchboard"), "flower"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )

    def hears() -> bool:
        return "celeryev." in rabbitmq.control("list_queues", "name")

    def said() -> str:
        return (tmp_path / "flower.log").read_text()

    try:

        def rows() -> list[str]:
            try:
                page = httpx2.get(f"http://127.0.0.1:{port}/broker", trust_env=False)
            except httpx2.HTTPError:
                return []
            return [name for name in QueueNames.ALL if re.search(rf">\s*{name}\s*<", page.text)]

        assert wait_for(rows, seconds=30, what="Flower shows queues") == [*QueueNames.ALL]
        wait_for(hears, what="Flower hears the workers")
        with rabbitmq.refusing(["clear_permissions", USER], ["set_permissions", USER, *EVERYTHING]):
            wait_for(lambda: "the workers can't be heard, BROKER_URL=amqp://" in said(), what="Flower says so")
            wait_for(lambda: "the workers can't be asked, BROKER_URL=amqp://" in said(), what="Flower says so")
        wait_for(hears, what="Flower hears the workers again")
        assert "it has no such virtual host, or not for this user" in said()
        assert "Traceback" not in said()
    finally:
        flower.terminate()
        flower.wait(10)


def taken(sender: Commands) -> bool:
    """Whether the broker confirms that it keeps a message."""
    try:
        sender._send(TaskNames.GENERATE, ["after"])
    except Unavailable:
        return False
    return True
