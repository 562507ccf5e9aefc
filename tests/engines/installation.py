"""A web server and a worker over the engines of a test's choice, and a guest who talks to them over HTTP."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2

from core.runtime import Runtime
from core.settings import Settings
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for
from tests.support.web_process import WebProcess
from tests.web.sse import ServerEvent, events
from tests.workers.local_process import WorkerProcess

TERMINAL = ("done", "stopped", "failed")
LEASE = 2
"""Seconds, of the installation's workers."""
NEWCOMER = {"email": "someone@example.org", "password": "a long pass phrase"}


class Installation:
    """The processes, started as the Procfile starts them, and a runtime that looks at the same stores."""

    def __init__(
        self,
        directory: Path,
        provider: ProviderServer,
        redis_url: str,
        database_url: str,
        workers: Mapping[str, Sequence[str]] = MappingProxyType({"tests": ()}),
        **environment: str,
    ) -> None:
        """`workers`: for each of them a command that runs it somewhere else, such as in a network namespace.
        `environment`: the options of all processes beside those two."""
        models = directory / "models.toml"
        models.write_text(provider.models_toml().replace("_timeout = 0.6", "_timeout = 20"))
        options = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "SWITCHBOARD_MODELS": str(models),
            "SWITCHBOARD_STATE_DIR": str(directory),
            "SWITCHBOARD_LEASE": f"{LEASE}s",
            "SWITCHBOARD_LIMIT_CREATE": "off",
            **environment,
        }
        self.runtime = Runtime(
            Settings(
                _env_file=None,
                configured_redis_url=redis_url,
                configured_database_url=database_url,
                models_path=models,
                state_dir=directory,
            )
        )
        self.workers = [
            WorkerProcess(directory, options, self.runtime.redis, name=name, within=within)
            for name, within in workers.items()
        ]
        self.worker = self.workers[0]
        for worker in self.workers:
            worker.restart(20)
        try:
            self.web = WebProcess(directory, None, **{**options, "database_url": database_url})
            for worker in self.workers:
                wait_for(lambda each=worker: " ready." in each.logs(), seconds=60, what=f"{worker.name} is ready")  # type: ignore[misc]
            self.worker.ready()
        except AssertionError:
            self._stop_workers()
            raise

    def close(self) -> None:
        """Leave nothing behind."""
        self.web.close()
        self._stop_workers()
        self.runtime.close()

    def _stop_workers(self) -> None:
        for worker in self.workers:
            worker.teardown()


class Guest:
    """Somebody in a session of their own, without an account unless one is asked for, who reads its events all the
    time."""

    def __init__(self, url: str, model: str = "good", *, account: bool = False) -> None:
        self.http = httpx2.Client(base_url=url, trust_env=False, timeout=10)
        self.told: list[ServerEvent] = []
        self.times: list[float] = []
        """When each event came, by the monotonic clock."""
        self._closed = threading.Event()
        self._last_id = ""
        if account:
            self.http.post("/auth/register", json=NEWCOMER).raise_for_status()
        created = wait_for(lambda: self._created(model), what="a session is created")
        self.session_id = created["session_id"]
        self._reader = threading.Thread(target=self._read, daemon=True)

    def ask(self, message: str = "Why?") -> None:
        """Ask, and begin to read."""
        cursor = self.http.get("/session/messages").json()["cursor"]
        assert self.asks(message)
        if not self._reader.is_alive():
            self._last_id = cursor or ""
            self._reader.start()

    def asks(self, message: str) -> bool:
        """Whether the question is taken."""
        return self.http.post("/chat", json={"message": message}).status_code == 202

    def text(self) -> str:
        """What the reader has been told of the newest answer; a part of it where the log was begun anew."""
        text = ""
        for event in self.told:
            if event.type == "delta":
                text = text[: event.data["at"]] + event.data["text"]
        return text

    def begun(self, characters: int = 1) -> None:
        """Wait for the first words, or for more of them."""

        def told() -> bool:
            assert not any(event.type in TERMINAL for event in self.told), self.told[-3:]
            return len(self.text()) >= characters

        wait_for(told, seconds=30, what="the answer is told")

    def ended(self, seconds: float = 30) -> str:
        """Wait for the end of the answer; how it ended."""
        return wait_for(
            lambda: next((event.type for event in self.told if event.type in TERMINAL), ""),
            seconds=seconds,
            what="the answer ends",
        )

    def longest_pause(self) -> float:
        """Seconds between two events, at the most."""
        return max(later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False))

    def answer(self) -> str:
        """The newest message, as a reload of the page shows it."""
        return str(self.http.get("/session/messages").json()["messages"][-1]["text"])

    def close(self) -> None:
        """Read no more."""
        self._closed.set()
        self.http.close()

    def _created(self, model: str) -> Any:
        answer = self.http.post("/session/create", json={"model": model})
        return answer.json() if answer.status_code == 201 else None

    def _read(self) -> None:
        while not self._closed.is_set():
            try:
                for event in self._stream():
                    self._last_id = event.id or self._last_id
                    self.told.append(event)
                    self.times.append(time.monotonic())
                    if event.type == "reset":
                        self._read_again()
                        break
            except (httpx2.HTTPError, httpx2.StreamError, RuntimeError):
                pass  # cut, refused, closed: it comes back, as a browser does
            self._closed.wait(0.1)

    def _read_again(self) -> None:
        """What a client does whose place in the log is lost: it reads the conversation, and goes on from there."""
        page = self.http.get("/session/messages").raise_for_status().json()
        self._last_id = page["cursor"] or ""
        if page["messages"] and page["messages"][-1]["role"] == "assistant":
            self.told.append(ServerEvent(self._last_id, "delta", {"at": 0, "text": page["messages"][-1]["text"]}))

    def _stream(self) -> Iterator[ServerEvent]:
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        with self.http.stream("GET", "/chat/sse", headers=headers, timeout=20) as answer:
            if answer.status_code == 200:
                yield from events(answer.iter_bytes())


@contextmanager
def guest(url: str, model: str = "good", *, account: bool = False) -> Iterator[Guest]:
    """A guest, or somebody with an account, for as long as the block lasts."""
    someone = Guest(url, model, account=account)
    try:
        yield someone
    finally:
        someone.close()
