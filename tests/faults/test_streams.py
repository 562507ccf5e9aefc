"""Streams under faults: whatever happens, a reader is told the log exactly, or is told that it was not.

Each run prints its seed; FAULTS_SEED=<seed> repeats its choices.
"""

import http.client
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.conversation.keys import keys
from core.conversation.position import Position
from core.sessions.credential import Credential
from tests.faults.reader import Reader, check
from tests.faults.writer import Writer
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import WebProcess

SEED = int(os.environ.get("FAULTS_SEED", 0)) or random.SystemRandom().randrange(1, 1_000_000)
ARRIVAL = 30.0
"""Seconds until the last event must have arrived: a client's own pause, and the hub's comparing of tops."""


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory, short_directory: Path) -> Iterator[Valkey]:
    """A Valkey that may be broken."""
    directory = short_directory / "faults"
    directory.mkdir()
    server = Valkey(directory)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def web(valkey: Valkey) -> Iterator[WebProcess]:
    """A web process that may be broken."""
    # These readers come back within 50 ms, which no client does; one that has left counts until its next event.
    process = WebProcess(
        valkey.directory, valkey, SWITCHBOARD_STREAMS_SESSION="off", SWITCHBOARD_STREAMS_ADDRESS="off"
    )
    yield process
    process.close()


def _proof(session: Credential) -> dict[str, str]:
    return {"X-Session-ID": str(session)}


def _wait_until(reader: Reader, end: Position) -> None:
    wait_for(lambda: reader.at() == end, seconds=ARRIVAL, what=f"{reader.at()} is {end}")


class Scene:
    """Some sessions, a writer for each, and several readers of each: patient ones and such that cut their streams."""

    def __init__(self, web: WebProcess, sessions: int, seed: int) -> None:
        print(f"FAULTS_SEED={SEED}")
        self.web = web
        self.valkey = web.valkey
        self.random = random.Random(seed)
        self.writers = []
        self.readers = []
        self._read_by: dict[Reader, Writer] = {}
        for session in web.new_sessions(sessions):
            writer = Writer(
                web.valkey, session.session_id, web.expires_at, pause=0.02, seed=self.random.getrandbits(32)
            )
            self.writers.append(writer)
            for longest in (None, None, 300, 20_000):
                seed = self.random.getrandbits(32)
                reader = Reader(web.port, _proof(session), writer.start_at, longest=longest, seed=seed)
                self.readers.append(reader)
                self._read_by[reader] = writer
        for thread in (*self.writers, *self.readers):
            thread.start()

    def pass_time(self, least: float = 0.2, most: float = 0.8) -> None:
        """Let events flow."""
        time.sleep(self.random.uniform(least, most))

    def end(self) -> int:
        """No more faults: all readers arrive at the end of their logs. Returns how many resets they were told."""
        for writer in self.writers:
            writer.stop()
        # Whoever was told of nothing since the log was lost learns of it with the next event, as people would.
        ends = {writer: writer.append("the end") for writer in self.writers}
        for reader in self.readers:
            reader.calm()
        for reader in self.readers:
            _wait_until(reader, ends[self._read_by[reader]])
        return self.check()

    def check(self) -> int:
        """Compare what each reader was told with its log. Returns how many resets there were."""
        resets = 0
        for reader in self.readers:
            assert reader.failures == []
            writer = self._read_by[reader]
            resets += check(reader, writer.entries, writer.end)
        return resets

    def close(self) -> None:
        """Stop everything."""
        for writer in self.writers:
            writer.stop()
        for reader in self.readers:
            reader.close()

    # The faults that lose nothing.

    def cut_the_hub(self) -> None:
        """Redis closes the web process's one subscription."""
        self.valkey.client().client_kill_filter(_type="pubsub")

    def cut_every_connection(self) -> None:
        """All of them, the writers' too."""
        for kind in ("pubsub", "normal"):
            self.valkey.client().client_kill_filter(_type=kind, skipme=True)

    def kill_valkey(self) -> None:
        """It comes back with its data."""
        assert self.valkey.process is not None
        self.valkey.process.kill()
        self.valkey.process.wait(10)
        self.pass_time()
        self.valkey.start()

    def freeze_valkey(self) -> None:
        """It holds its connections and says nothing."""
        self.valkey.freeze()
        self.pass_time(0.5, 1.5)
        self.valkey.thaw()

    def kill_web(self) -> None:
        """Another process begins with nothing."""
        self.web.kill()
        self.web.start()

    def stop_web(self) -> None:
        """A deploy."""
        self.web.stop()
        self.web.start()

    def freeze_a_reader(self) -> None:
        """It falls behind by more than all buffers on the way hold."""
        reader = self.random.choice(self.readers)
        reader.freeze()
        writer = self._read_by[reader]
        with writer.lock:
            for _ in range(400):
                writer.append("y" * 10_000)
        self.pass_time(1, 2)
        reader.thaw()

    # The faults that lose something.

    def trim_a_log(self) -> None:
        """A log loses its older half while some readers are away."""
        writer = self.random.choice(self.writers)
        self.valkey.client().xtrim(keys(writer.session_id)[0], maxlen=2, approximate=False)

    def empty_valkey(self) -> None:
        """FLUSHALL."""
        self.valkey.client().flushall()

    def lose_valkeys_data(self) -> None:
        """It comes back without its data."""
        for writer in self.writers:
            writer.lock.acquire()
        try:
            self.valkey.stop()
            shutil.rmtree(self.valkey.directory / "appendonlydir")
            self.valkey.start()
        finally:
            for writer in self.writers:
                writer.lock.release()


HARMLESS: tuple[Callable[[Scene], None], ...] = (
    Scene.cut_the_hub,
    Scene.cut_every_connection,
    Scene.kill_valkey,
    Scene.freeze_valkey,
    Scene.kill_web,
    Scene.stop_web,
    Scene.freeze_a_reader,
)
LOSING: tuple[Callable[[Scene], None], ...] = (Scene.trim_a_log, Scene.empty_valkey, Scene.lose_valkeys_data)


@pytest.fixture
def scene(web: WebProcess, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Three sessions, twelve readers."""
    played = Scene(web, sessions=3, seed=SEED + len(request.node.name))
    yield played
    played.close()


def test_without_faults_readers_are_told_the_log(scene: Scene) -> None:
    scene.pass_time(1, 2)
    assert scene.end() == 0
    assert sum(reader.connections for reader in scene.readers) > 2 * len(scene.readers)


def test_where_nothing_is_lost_nobody_misses_anything(scene: Scene) -> None:
    faults = [*HARMLESS, Scene.cut_the_hub, Scene.cut_the_hub]
    scene.random.shuffle(faults)
    for fault in faults:
        print(fault.__name__)
        scene.pass_time()
        fault(scene)
    assert scene.end() == 0


def test_where_something_is_lost_readers_are_told(scene: Scene) -> None:
    faults = [*LOSING, Scene.cut_the_hub, Scene.kill_web, Scene.empty_valkey]
    scene.random.shuffle(faults)
    for fault in faults:
        print(fault.__name__)
        scene.pass_time()
        fault(scene)
    assert scene.end() >= len(scene.readers)  # every log was lost at least once, and every reader told


def test_a_stopping_server_ends_its_streams_between_two_events(web: WebProcess) -> None:
    (session,) = web.new_sessions(1)
    writer = Writer(web.valkey, session.session_id, web.expires_at, pause=0.002, seed=SEED)
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=15)
    connection.request(
        "GET", "/chat/sse", headers={"X-Session-ID": str(session), "Last-Event-ID": str(writer.start_at)}
    )
    answer = connection.getresponse()
    writer.start()
    body = answer.read1()
    web.terminate()
    try:
        body += answer.read()  # raises IncompleteRead when the last chunk is missing
    finally:
        writer.stop()
        web.stop()
        web.start()
    assert body.endswith(b"\n\n")
    assert b"id:" in body


def _connections(web: WebProcess) -> int:
    """How many clients are connected."""
    sockets = web.worker.net_connections("tcp")
    return sum(each.laddr.port == web.port and each.status == psutil.CONN_ESTABLISHED for each in sockets)


def test_a_stalled_reader_is_cut_and_goes_on_later(web: WebProcess) -> None:
    (session,) = web.new_sessions(1)
    writer = Writer(web.valkey, session.session_id, web.expires_at, pause=0.02, seed=SEED)
    reader = Reader(web.port, _proof(session), writer.start_at, longest=None, seed=SEED)
    reader.start()
    wait_for(lambda: reader.connections, what="the reader is connected")
    reader.freeze()
    for _ in range(1200):
        writer.append("z" * 10_000)
    wait_for(lambda: not _connections(web), seconds=60, what="the server has cut the reader")
    reader.thaw()
    try:
        wait_for(lambda: reader.at() == writer.end, seconds=ARRIVAL, what="the reader has gone on")
    finally:
        reader.close()
    assert check(reader, writer.entries, writer.end) == 0
    assert reader.connections > 1
