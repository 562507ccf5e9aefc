"""While a new version is rolled out its processes meet those of the version before, in either order."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from celery_config import QueueNames
from core.migrations.runner import migrate
from tests.support.provider import ANSWER, STORY, ProviderServer
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import OPTIONS, ROOT, free_port
from tests.web.sse import events

PREVIOUS = "bf7b34d6ec8349baa4975dd3a19fd1de7015aed2"
"""The version that this one may be rolled out over. At a release it becomes the one that has just been released."""
START_TIME = 60.0
"""Seconds for processes to begin, on a busy machine."""


@pytest.fixture(scope="module")
def previous() -> Iterator[Path]:
    """The code of the version before."""
    archive = subprocess.run(["git", "archive", PREVIOUS], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the version before ({PREVIOUS}) is not in this checkout: git fetch --unshallow")
    directory = Path(tempfile.mkdtemp(prefix="sb-previous-"))
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(directory, filter="data")
    yield directory
    shutil.rmtree(directory)


class Stores(NamedTuple):
    """What both versions share: a Valkey, a database as this version migrates it, a provider."""

    directory: Path
    environment: dict[str, str]
    provider: ProviderServer

    @contextmanager
    def process(self, code: Path, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A process of one of the versions."""
        with (self.directory / f"{command[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=code,
                env={**self.environment, "PYTHONPATH": str(code)},
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    @contextmanager
    def web(self, code: Path) -> Iterator[httpx2.Client]:
        """A browser at a web process."""
        port = free_port()
        arguments = ("--config", "web/gunicorn.py", "--bind", f"127.0.0.1:{port}", "web.app:create_app()")
        with (
            self.process(code, "gunicorn", *arguments),
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as browser,
        ):
            wait_for(lambda: _status(browser, "/readyz") == 200, seconds=START_TIME, what="it says that it is ready")
            yield browser

    @contextmanager
    def workers(self, code: Path, name: str = "workers") -> Iterator["subprocess.Popen[bytes]"]:
        """A worker of all queues, with beat."""
        queues = ",".join(QueueNames.ALL)
        options = f"--app workers.app worker --hostname {name}@%h --queues {queues} --pool threads --concurrency 8"
        beat = ("--beat", "--without-gossip", "--without-mingle")
        with self.process(code, "celery", *options.split(), *beat) as process:
            yield process


@pytest.fixture
def stores(tmp_path: Path, short_directory: Path) -> Iterator[Stores]:
    directory = Path(tempfile.mkdtemp(prefix="sb-versions-", dir=short_directory))
    models, database_url = directory / "models.toml", f"sqlite:///{directory / 'chat.db'}"
    migrate(database_url)
    valkey, provider = Valkey(directory), ProviderServer()
    known_to_both = re.sub(r"(?m)^(currency|(in|out)put_price) = .*\n", "", provider.models_toml())
    models.write_text(known_to_both.replace("context_tokens = 600", "context_tokens = 9000"))
    environment = {
        **{name: value for name, value in os.environ.items() if not OPTIONS.match(name)},
        "REDIS_URL": valkey.url,
        "DATABASE_URL": database_url,
        "SWITCHBOARD_MODELS": str(models),
        "SWITCHBOARD_STATE_DIR": str(directory),
    }
    yield Stores(directory, environment, provider)
    provider.stop()
    valkey.stop()


@pytest.mark.parametrize("newer", ["web", "workers"])
def test_a_web_process_and_workers_of_two_versions_work_together(stores: Stores, previous: Path, newer: str) -> None:
    web, workers = (ROOT, previous) if newer == "web" else (previous, ROOT)
    with stores.workers(workers), stores.web(web) as browser:
        created = browser.post("/session/create", json={})
        assert created.status_code == 201, created.text
        assert _answer(browser) == ANSWER
        switched = browser.post("/session/model", json={"model": "story"})
        assert switched.status_code == 200, switched.text
        assert browser.post("/session/refresh", json={}).status_code == 200
        assert _answer(browser) == STORY
        messages = browser.get("/session/messages").json()["messages"]
        assert [message["text"] for message in messages if message["role"] == "assistant"] == [ANSWER, STORY]
        assert browser.delete("/session").status_code == 204


@pytest.mark.parametrize("newer", ["first", "second"])
def test_an_answer_is_handed_from_one_version_to_the_other(stores: Stores, previous: Path, newer: str) -> None:
    first, second = (ROOT, previous) if newer == "first" else (previous, ROOT)
    with ExitStack() as stack:
        leaving = stack.enter_context(stores.workers(first, "first"))
        browser = stack.enter_context(stores.web(second))
        assert browser.post("/session/create", json={"model": "paused"}).status_code == 201
        stack.enter_context(stores.workers(second, "second"))
        with closing(_ask(browser)) as told:
            (_, text) = next(told)
            leaving.terminate()
            leaving.wait(30)
            stores.provider.go_on.set()
            for at, piece in told:
                assert at == len(text)
                text += piece
        messages = browser.get("/session/messages").json()["messages"]
        assert messages[-1]["state"] == "complete", messages[-1]
        assert messages[-1]["text"] == text
        assert text.endswith("for it")


def _answer(browser: httpx2.Client) -> str:
    """Ask, and read the answer's text from the stream to its end."""
    text = ""
    for at, piece in _ask(browser):
        text = text[:at] + piece
    return text


def _ask(browser: httpx2.Client) -> Generator[tuple[int, str], None, None]:
    asked = browser.post("/chat", json={"message": "Tell me."})
    assert asked.status_code == 202, asked.text
    generation = asked.json()["generation_id"]
    with browser.stream("GET", f"/chat/sse?generation_id={generation}") as answer:
        for event in events(answer.iter_raw()):
            if event.data.get("generation_id") != generation:
                continue
            if event.type == "delta":
                yield event.data["at"], event.data["text"]
            if event.type in ("done", "stopped", "failed"):
                assert event.type == "done", event
                return


def _status(browser: httpx2.Client, path: str) -> int:
    try:
        return browser.get(path).status_code
    except httpx2.HTTPError:
        return 0
