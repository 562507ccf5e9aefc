"""Web processes are replaced while requests come, one after the other and without a pause: none is refused."""

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import WebProcess


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
