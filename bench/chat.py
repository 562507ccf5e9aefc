"""The real application with a provider: Valkey, a database, one web process, one chat worker."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import psutil
from celery import Celery

from bench.provider import Manner
from bench.service import Service
from celery_config import TaskNames
from core.conversation.event_log import PAGE_SIZE
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.tables import GenerationState, Session
from tests.conftest import new_user
from tests.support.procfile import procfile_command
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import OPTIONS, ROOT, WebProcess

PATIENCE = 60.0
"""Seconds in which all answers must have ended."""
LOOK = 0.01
"""Seconds between two looks at whether an answer has ended."""


class Asked(NamedTuple):
    """A question, accepted and not queued yet."""

    session: Session
    generation_id: UUID
    manner: Manner


@dataclass(frozen=True)
class Chat:
    """What is measured. This process does a web process's part, where no web process is asked."""

    runtime: Runtime
    queue: Celery
    valkey: psutil.Process
    chat: Service
    web: WebProcess
    models: Path
    """models.toml, with a model for each manner."""
    directory: Path
    environment: Mapping[str, str]
    """What its processes are started with."""

    @property
    def worker(self) -> psutil.Process:
        """The chat worker."""
        return self.chat.process

    @property
    def redis_socket(self) -> str:
        """The path of the Unix socket on which Valkey listens."""
        return str(self.runtime.redis.connection_pool.connection_kwargs["path"])

    def accept(self, manner: Manner, count: int) -> list[Asked]:
        """Questions of as many users, each in a session of their own."""
        return [self._accept(manner) for _ in range(count)]

    def queue_all(self, questions: Sequence[Asked]) -> None:
        """Have them answered."""
        for asked in questions:
            self.queue.send_task(TaskNames.GENERATE, [str(asked.generation_id)])

    def await_ends(self, questions: Sequence[Asked]) -> None:
        """Wait until every log tells of its answer's end. Cheap: looks at one log at a time, and not at its words."""
        deadline = time.monotonic() + PATIENCE
        for asked in questions:
            while not self._has_ended(asked):
                if time.monotonic() > deadline:
                    ended = sum(map(self._has_ended, questions))
                    raise TimeoutError(f"{ended} of {len(questions)} answers have ended within {PATIENCE:.0f} s")
                time.sleep(LOOK)

    def await_beginnings(self, questions: Sequence[Asked]) -> None:
        """Wait until every answer has words."""
        for asked in questions:
            wait_for(lambda each=asked: "delta" in self._told(each), seconds=30, what="an answer has begun")  # type: ignore[misc]

    def live(self, questions: Sequence[Asked]) -> int:
        """How many have not ended."""
        return sum(not self._has_ended(asked) for asked in questions)

    def check(self, questions: Sequence[Asked]) -> None:
        """Fail, with the count, unless each answer is whole."""
        broken = [
            (list(told), told.get("failed"))
            for told, asked in ((self._told(asked), asked) for asked in questions)
            if GenerationState.DONE not in told or not asked.manner.is_whole("".join(told.get("delta", [])))
        ]
        if broken:
            raise RuntimeError(
                f"{len(broken)} of {len(questions)} answers are not what the provider sent: {broken[0]}"
            )

    def credential(self, manner: Manner) -> Credential:
        """A new anonymous session's."""
        issued = Credential.issue()
        with self.runtime.database.writing() as db:
            self.runtime.sessions.create_session(
                db, session_id=issued.session_id, secret_hash=issued.secret_hash, model=str(manner)
            )
        return issued

    def _accept(self, manner: Manner) -> Asked:
        owner = new_user(self.runtime.database)
        with self.runtime.database.writing() as db:
            session = self.runtime.sessions.create_session(db, owner, model=str(manner))
        return Asked(session, self.runtime.generations.accept(session, "Count.").generation_id, manner)

    def _has_ended(self, asked: Asked) -> bool:
        """A log whose answer has ended has no start of a live one."""
        return self.runtime.log.read(asked.session.id, after=0, limit=1).start is None

    def _told(self, asked: Asked) -> dict[str, list[str]]:
        """What the log has: by kind of event, the pieces of text in them."""
        told: dict[str, list[str]] = {}
        cursor = 0
        while events := self.runtime.log.read(asked.session.id, cursor).events:
            for event in events:
                told.setdefault(event.type, []).append(json.loads(event.data).get("text", event.data))
            cursor = events[-1].offset
            if len(events) < PAGE_SIZE:
                break
        return told


@contextmanager
def running(
    provider_url: str, manners: Sequence[Manner], streams: int, database_url: str = "", **more: str
) -> Iterator[Chat]:
    """The application, with a worker for as many answers at once, for as long as the block lasts; on SQLite, or the
    migrated database of this URL. PostgreSQL knows its processes as `web` and `worker`. A worker that ends is started
    again. `more` is for their environment."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="sb-bench-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        models = directory / "models.toml"
        models.write_text("\n".join([f'default = "{manners[0]}"', *(_table(each, provider_url) for each in manners)]))
        valkey = Valkey(directory)
        stack.callback(valkey.stop)
        environment = {
            "SWITCHBOARD_MODELS": str(models),
            "SWITCHBOARD_LIMIT_MESSAGES_ANONYMOUS": "off",
            "SWITCHBOARD_LIMIT_TOKENS_ANONYMOUS": "off",
            "SWITCHBOARD_STREAMS_ADDRESS": "off",  # all readers come from this machine
            **more,
        }
        web = WebProcess(directory, valkey, database_url, PGAPPNAME="web", **environment)
        stack.callback(web.close)
        settings = Settings(
            _env_file=None,
            configured_redis_url=valkey.url,
            configured_database_url=web.database.engine.url.render_as_string(hide_password=False),
            models_path=models,
            state_dir=directory,
            limit_messages_user=None,
            limit_tokens_user=None,
        )
        environment |= {
            "REDIS_URL": settings.redis_url,
            "DATABASE_URL": settings.database_url,
            "SWITCHBOARD_STATE_DIR": str(directory),
            "SWITCHBOARD_LIMIT_TOKENS_USER": "off",
            "PGAPPNAME": "worker",
        }
        queue = stack.enter_context(closing(Celery("bench", set_as_current=False)))
        queue.config_from_object("celery_config")
        queue.conf.broker_url = settings.broker_url
        runtime = stack.enter_context(closing(Runtime(settings)))

        def consumes() -> bool:
            return any(name.startswith("chat-") for answer in queue.control.ping(timeout=0.5) for name in answer)

        options = ["--concurrency", str(streams)]
        chat = stack.enter_context(process("chat", directory, environment, consumes, options))
        assert valkey.process is not None
        try:
            chat.await_ready()
            yield Chat(runtime, queue, psutil.Process(valkey.process.pid), chat, web, models, directory, environment)
        except Exception:
            for log in ("chat.log", "web.log"):
                print((directory / log).read_text()[-3000:], file=sys.stderr)
            raise


def _table(manner: Manner, url: str) -> str:
    return f"""
[models."{manner}"]
label = "{manner}"
provider = "openai"
base_url = "{url}"
model = "{manner}"
context_tokens = 1000000
max_tokens = 100000
max_concurrency = 10000
prefill = true
"""


@contextmanager
def process(
    name: str,
    directory: Path,
    environment: Mapping[str, str],
    ready: Callable[[], bool] = lambda: True,
    options: Sequence[str] = (),
) -> Iterator[Service]:
    """One of Celery's processes as the Procfile starts it, but for these options."""
    inherited = {variable: value for variable, value in os.environ.items() if not OPTIONS.match(variable)}
    service = Service(
        [*procfile_command(name), *options],
        ready,
        directory=directory,  # not in the project's, whose .env is the developer's
        log=directory / f"{name}.log",
        environment={**inherited, "PYTHONPATH": str(ROOT), **environment},
    )
    with closing(service):
        yield service
