"""Redis behind Sentinel: where its clients go when the master dies, freezes or is demoted."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.connection import Connection

import celery_config  # noqa: F401  which names the transports
from broker.queue_length import queue_length
from core.operations.preflight.redis import redis_mistake
from core.stores.redis import AsyncScripts, RedisUnavailable, ScriptCall
from core.stores.redis_url import RedisServer
from tests.engines.installation import LEASE, Installation, guest
from tests.support.provider import ProviderServer
from tests.support.sentinel import Sentinels
from tests.support.waiting import wait_for


@pytest.fixture
def group() -> Iterator[Sentinels]:
    """A group of this test's own."""
    servers = Sentinels()
    yield servers
    servers.close()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Sentinels]:
    """A group of this test's own, whose servers and sentinels want to be shown passwords."""
    servers = _guarded(secure=request.param)
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Sentinels]:
    """A group for all tests that have processes, whose start costs more than a failover. Everything of it is over TLS
    and behind passwords; tests/hosts has a plain one."""
    servers = _guarded(secure=True)
    yield servers
    servers.close()


def _guarded(*, secure: bool) -> Sentinels:
    return Sentinels(
        servers=["user default off", "user app on >w0rd ~* &* +@all", "masteruser app", "masterauth w0rd"],
        sentinels=[
            "sentinel auth-user switchboard app",
            "sentinel auth-pass switchboard w0rd",
            "user default off",
            "user watch on >w4tch ~* &* +@all",
            "sentinel sentinel-user watch",
            "sentinel sentinel-pass w4tch",
        ],
        credentials="app:w0rd@",
        options="?db=3&sentinel_username=watch&sentinel_password=w4tch",
        secure=secure,
    )


@pytest.fixture(scope="module")
def model() -> Iterator[ProviderServer]:
    """A model server of this module's own."""
    server = ProviderServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def installation(
    shared: Sentinels, model: ProviderServer, _migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A web server and a worker for which everything but SQL is behind the sentinels."""
    directory = tmp_path_factory.mktemp("sentinel")
    (directory / "test.db").write_bytes(_migrated_sqlite.read_bytes())
    parts = Installation(directory, model, shared.url, f"sqlite:///{directory / 'test.db'}")
    yield parts
    parts.close()


def test_clients_of_every_kind_go_where_the_new_master_is(guarded: Sentinels) -> None:
    client = guarded.client()
    guarded.ready(client)
    count = client.register_script("return redis.call('INCR', KEYS[1])")
    subscription = client.pubsub()
    subscription.subscribe("channel")
    broker = Connection(RedisServer.parse(guarded.url).broker_url, transport_options={"socket_timeout": 2})
    assert "w0rd" not in broker.as_uri()

    def fail_over() -> None:
        with broker.SimpleQueue("kept") as queue:
            queue.put("a message")
        assert count(keys=["number"]) == 1
        client.wait(1, 1000)
        guarded.master.kill()
        guarded.promoted(client)

    async def before_and_after() -> list[object]:
        scripts = AsyncScripts(guarded.url, retries=6)
        call = [ScriptCall(count, ["loop"], [])]
        try:
            first = await scripts.run(call)
            await asyncio.to_thread(fail_over)
            return first + await scripts.run(call)
        finally:
            await scripts.close()

    assert asyncio.run(before_and_after()) == [1, 2]
    assert count(keys=["number"]) == 2
    assert client.connection_pool.connection_kwargs["db"] == 3
    assert queue_length(broker, "kept") == 1
    broker.close()

    def heard() -> bool:
        client.publish("channel", "word")
        try:
            return (subscription.get_message(timeout=0.1) or {}).get("data") == "word"
        except RedisUnavailable:
            return False

    wait_for(heard, what="the subscription follows")
    subscription.close()


def test_what_is_wrong_with_a_groups_url_is_said_in_a_line(guarded: Sentinels) -> None:
    guarded.ready(guarded.client())
    url, secure = guarded.url, guarded.url.startswith("sentinels")
    (first, *_), master = guarded.sentinels, guarded.master
    where, wrong = f"the sentinel 127.0.0.1:{first.port}", "the user or the password"
    unshown = url.partition("&ssl_")[0]
    said = {
        url.replace("w4tch", "hunter2"): f"{where}: it refuses {wrong}; correct sentinel_username",
        url.replace("w0rd", "hunter2"): f"the master at 127.0.0.1:{master.port}: it refuses {wrong}; correct them",
        url.replace(
            "/switchboard", "/hunter"
        ): f"{where}: it knows no master hunter; name one that it knows: switchb",
        "sentinel://127.0.0.1:1/switchboard": "the sentinel 127.0.0.1:1: nothing listens there; start it",
    }
    if secure:
        said |= {
            unshown.replace("sentinels:", "sentinel:"): f"{where}: it speaks TLS; write sentinels://",
            unshown: f"{where}: its certificate is not trusted (self-signed certificate); name its CA: sentinels://",
            url.partition("&ssl_certfile")[0]: "if it wants a certificate: sentinels://...?ssl_certfile=",
        }
    else:
        said |= {
            url.replace("sentinel:", "sentinels:"): f"{where}: it speaks without TLS; write sentinel://",
            f"redis://watch:w4tch@127.0.0.1:{first.port}": "it is a sentinel, which keeps nothing; name",
        }
    for mistaken, line in said.items():
        mistake = str(redis_mistake("REDIS_URL", mistaken))
        assert line in mistake
        assert "hunter2" not in mistake
        assert len(mistake) < 500
    assert redis_mistake("REDIS_URL", url.replace("@", "@127.0.0.1:1,")) is None  # one that is away does not matter
    for sentinel in guarded.sentinels:
        sentinel.send(signal.SIGSTOP)
    assert f"{where}: no answer" in str(redis_mistake("REDIS_URL", url))


def test_a_master_that_was_demoted_is_left(group: Sentinels) -> None:
    client = group.client()
    group.ready(client)
    client.set("key", 1)
    group.master.send(signal.SIGSTOP)  # it will find out that it is none any more when it comes back
    group.promoted(client)
    group.master.send(signal.SIGCONT)
    wait_for(lambda: client.info("replication").get("connected_slaves") == 1, seconds=20, what="it follows")
    for _ in range(20):
        client.incr("key")
    assert client.info("server")["tcp_port"] == group.replica.port


@pytest.mark.parametrize("end", ["behind", "silent"])
def test_an_answer_goes_on_whole_with_the_new_master(
    shared: Sentinels, installation: Installation, model: ProviderServer, end: str
) -> None:
    client = shared.client()
    shared.ready(client)
    model.go_on.clear()
    with guest(installation.web.url, "paused") as someone:
        someone.ask()
        someone.begun()
        if end == "behind":  # the last words are with the master alone
            shared.replica.send(signal.SIGSTOP)
            someone.begun(len(someone.text()) + 3)
        else:  # what nobody but the master has is lost with it
            with client.pipeline(transaction=False) as pipe:
                pipe.set("key", 1)
                pipe.execute_command("WAIT", 1, 10_000)
                assert pipe.execute()[-1] == 1
        shared.master.send(signal.SIGKILL if end == "behind" else signal.SIGSTOP)
        lost_at = time.monotonic()
        shared.replica.send(signal.SIGCONT)
        shared.named()
        failover = time.monotonic() - lost_at
        shared.promoted(client)
        someone.begun(len(someone.text()) + 3)
        model.go_on.set()
        assert someone.ended() == "done"
        assert someone.text() == someone.answer()
        assert someone.longest_pause() < LEASE + failover + 5
        # And the session is locked for nobody.
        someone.told.clear()
        someone.ask("And?")
        assert someone.ended() == "done"
        # Commands and their replies have found the new master as well.
        wait_for(lambda: someone.http.post("/session/create").status_code == 201, seconds=30, what="a session")
    shared.swap(client)
