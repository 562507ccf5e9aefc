"""Web processes are replaced while requests come, one after the other and without a pause: none is refused."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx2
import pytest

from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import ROOT, WebProcess


class Visitors:
    """Four clients, each of which makes a connection for each request, as fast as it is answered."""

    def __init__(self, url: str) -> None:
        self.answered = 0
        self.refused: list[str] = []
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def answers(self, more: int) -> None:
        """Wait until so many more requests have been answered."""
        wanted = self.answered + more
        wait_for(lambda: self.answered >= wanted or self.refused, seconds=60, what=f"{more} more answers")

    def leave(self) -> None:
        """Make no more requests."""
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _visit(self) -> None:
        while not self._over.is_set():
            try:
                status = httpx2.get(f"{self._url}/config/models", timeout=30, trust_env=False).status_code
            except httpx2.HTTPError as error:
                self.refused.append(repr(error))
                continue
            if status == httpx2.codes.OK:
                self.answered += 1
            else:
                self.refused.append(str(status))


@pytest.fixture
def web(short_directory: Path) -> Iterator[WebProcess]:
    directory = Path(tempfile.mkdtemp(prefix="replaced-", dir=short_directory))
    valkey = Valkey(directory)
    process = WebProcess(directory, valkey)
    yield process
    process.close()
    valkey.stop()


def test_by_hup_none_is_refused(web: WebProcess) -> None:
    visitors = Visitors(web.url)
    visitors.answers(20)
    for _ in range(2):
        before = web.worker.pid
        web.reload()
        wait_for(lambda: before not in [each.pid for each in web.processes], seconds=60, what="the old one has gone")  # noqa: B023
        visitors.answers(20)
    visitors.leave()
    assert not visitors.refused


def test_by_one_hup_after_the_other_none_is_refused(web: WebProcess) -> None:
    visitors = Visitors(web.url)
    visitors.answers(20)
    for _ in range(4):
        web.reload()  # while the process before is still ending
        visitors.answers(20)
    wait_for(lambda: len(web.processes) == 2, seconds=60, what="one process answers, and its parent is there")
    visitors.answers(20)
    visitors.leave()
    assert not visitors.refused


@pytest.fixture
def configured(short_directory: Path) -> Iterator[WebProcess]:
    """A web process with a catalog and secrets of its own, in its directory."""
    directory = Path(tempfile.mkdtemp(prefix="configured-", dir=short_directory))
    shutil.copy(ROOT / "models.toml", directory / "models.toml")
    (directory / "secrets").mkdir()
    valkey = Valkey(directory)
    process = WebProcess(
        directory,
        valkey,
        SWITCHBOARD_MODELS=str(directory / "models.toml"),
        SWITCHBOARD_SECRETS_DIR=str(directory / "secrets"),
    )
    yield process
    process.close()
    valkey.stop()


def refused(web: WebProcess, why: str) -> None:
    """Reload it; that is refused in one line that says so, and all goes on."""
    lines, processes = web.log.count("not reloaded"), web.processes
    web.reload()
    wait_for(lambda: web.log.count("not reloaded") > lines, what="the refusal is logged")
    (line,) = [each for each in web.log.splitlines() if "not reloaded" in each][lines:]
    assert why in line
    assert web.processes == processes
    assert httpx2.get(f"{web.url}/healthz", trust_env=False).status_code == httpx2.codes.OK


def test_a_hup_with_what_can_not_be_read_changes_nothing(configured: WebProcess) -> None:
    web, models = configured, configured.directory / "models.toml"
    token = web.directory / "secrets" / "SWITCHBOARD_METRICS_TOKEN"
    good, worker = models.read_text(), web.worker.pid
    models.write_text("x = [")
    refused(web, f"switchboard: {models}: not valid TOML")
    models.write_text('default = "none"\n')
    refused(web, f"switchboard: {models}: ")
    models.unlink()
    refused(web, f"switchboard: {models}")
    models.write_text(good)
    token.write_bytes(b"\xff\xfe")
    refused(web, "SWITCHBOARD_METRICS_TOKEN")
    token.unlink()
    assert "Traceback" not in web.log
    web.reload()
    wait_for(lambda: worker not in [each.pid for each in web.processes], seconds=60, what="a new process answers")


def test_a_hup_takes_no_other_store_that_is_away_and_no_default_for_one_that_was_named(short_directory: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="stores-", dir=short_directory))
    secrets = directory / "secrets"
    secrets.mkdir()
    with ExitStack() as stack:
        valkey = Valkey(directory)
        stack.callback(valkey.stop)
        stores = {"DATABASE_URL": f"sqlite:///{directory / 'web.db'}", "REDIS_URL": valkey.url}
        for name, url in stores.items():
            (secrets / name).write_text(url)
        unset = dict.fromkeys(stores, "")
        web = WebProcess(directory, None, SWITCHBOARD_SECRETS_DIR=str(secrets), **unset)
        stack.callback(web.close)
        worker = web.worker.pid
        for name, url in stores.items():
            (secrets / name).unlink()
            refused(web, f"{name}: it was set, and is no more")
            (secrets / name).write_text(url)
        (secrets / "REDIS_URL").write_text("redis://127.0.0.1:1/0")
        refused(web, "a store can't be used")
        assert "REDIS_URL=redis://127.0.0.1:1/0: nothing listens there" in web.log
        (secrets / "REDIS_URL").write_text(valkey.url)
        valkey.stop()  # the same as before is waited for, as at a start
        web.reload()
        wait_for(lambda: worker not in [each.pid for each in web.processes], seconds=60, what="it is reloaded")


GONE = """
from gunicorn.config import Config
from gunicorn.glogging import Logger
import web.gunicorn
from web.server.http_worker import HTTPWorker

settings = Config()
worker = HTTPWorker(0, 1, [], None, 30, settings, Logger(settings))
for pid in {pids}:
    worker.pid = pid  # as gunicorn's first process notes it, which loads no application
    web.gunicorn.worker_exit(None, worker)
print("goes on")
"""


@pytest.mark.parametrize("pids", ["[1]", "[__import__('os').getpid()]"], ids=["another's", "before it was loaded"])
def test_a_worker_that_is_found_gone_does_not_end_the_server(tmp_path: Path, pids: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SWITCHBOARD_STATE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", GONE.format(pids=pids)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "goes on" in done.stdout, done.stderr


def test_on_a_socket_that_systemd_holds_none_is_refused(web: WebProcess) -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=128)) as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        process = web.start_on(held)
        visitors = Visitors(url)
        visitors.answers(20)
        for _ in range(2):
            process.terminate()
            process.wait(30)
            process = web.start_on(held)
            visitors.answers(20)
        visitors.leave()
        process.terminate()
        process.wait(30)
    assert not visitors.refused
