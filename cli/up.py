"""`switchboard up`: the whole system, in order, until it is told to stop."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from cli.addresses import check_flower_guarded, check_port, flower_url, free_port, web_url
from cli.configuration import read_catalog, read_settings
from cli.console import CommandError, Console, fail
from cli.local_servers import problem_at
from cli.supervision.children import FLAPPING_RESTARTS, consequence
from cli.supervision.migrating import migrated
from cli.supervision.procfile import read_procfile
from cli.supervision.state_directory import RunningSystem, StateDirectory
from cli.supervision.stuck import end_stuck
from cli.supervision.supervisor import MAX_RESTART_DELAY, Death, GaveUp, Program, Supervisor
from cli.supervision.valkey import disown, socket_path, valkey_answers, valkey_program
from core.llm.catalog import ModelCatalog
from core.observability.logs import configure_logs
from core.operations.file_descriptors import raise_limit
from core.settings import Settings
from core.stores.redis_url import socket_url
from core.text.masking import masked

PROJECT = Path(__file__).resolve().parent.parent
"""Where the Procfile is, and what its commands are relative to."""
START_TIMEOUT = 120.0
"""Seconds after which a start that is not ready is given up."""
POLL_INTERVAL = 0.1
REMINDER_INTERVAL = 300.0
"""Seconds between two words about a process that dies again and again."""
SAVE_RETRY_INTERVAL = 5.0
"""Seconds until the runtime file is tried again that could not be written."""
VALKEY_GRACE = 2.0
"""Seconds for Valkey, which stops last: with the others' grace, all is over within ten."""


def up(verbose: bool) -> None:
    """Run the system until SIGINT or SIGTERM. Raises CommandError when it can't be started."""
    began = time.monotonic()
    settings = read_settings()
    console = Console(verbose, log_format=settings.log_format)
    configure_logs("up", settings.log_level, settings.log_format, settings.secrets)
    raise_limit()
    os.umask(0o077)  # the database, the logs and Valkey's data are their owner's only
    catalog = read_catalog(settings)
    commands = read_procfile(PROJECT / "Procfile")
    if catalog.weights is None:
        commands.pop("model", None)
    state = StateDirectory(settings.state_dir)
    state.prepare()
    with state.exclusive() as lock, socket_path(state.path) as socket:
        _check_stores(settings)
        runtime = _runtime(settings, catalog, socket)
        _check_ports(settings, runtime, catalog)
        models = f"{len(catalog.models)} models, default {catalog.default}"
        console.step("settings", models, time.monotonic() - began)
        system = _System(settings, runtime, state, commands, socket, console, began)
        try:
            asyncio.run(system.run(lock))
        finally:
            console.close()


def _runtime(settings: Settings, catalog: ModelCatalog, socket: Path) -> RunningSystem:
    model_url = settings.model_url
    if catalog.weights and "model_url" not in settings.model_fields_set:
        model_url = f"http://127.0.0.1:{free_port()}/v1"
    return RunningSystem(
        pid=os.getpid(),
        configured_redis_url=settings.configured_redis_url or socket_url(str(socket)),
        configured_broker_url=settings.configured_broker_url,
        configured_database_url=settings.database_url,
        host=settings.host,
        port=settings.port,
        flower_address=settings.flower_address,
        flower_port=settings.flower_port,
        flower_url_prefix=settings.flower_url_prefix,
        model_url=model_url,
        model_key=_model_key(settings) if catalog.weights else "",
    )


def _model_key(settings: Settings) -> str:
    """The configured key, or another one for each run. It is in the processes' environment and the runtime file."""
    return settings.model_key.get_secret_value() if settings.model_key else secrets.token_urlsafe(32)


def _check_stores(settings: Settings) -> None:
    """Of those that are not started here. One that is away fails the start: `up` is to be up, or to say why not."""
    if not (settings.configured_redis_url or settings.configured_broker_url or settings.configured_database_url):
        return
    # In a process of its own: what that loads would stay in this one for ever.
    tried = subprocess.run([sys.executable, "-m", "cli.stores"], stdout=subprocess.PIPE, text=True, check=False)
    if tried.returncode:
        fail(tried.stdout.strip() or f"the stores could not be tried: exit status {tried.returncode}")


def _check_ports(settings: Settings, runtime: RunningSystem, catalog: ModelCatalog) -> None:
    check_flower_guarded(settings.flower_address, settings.flower_basic_auth is not None)
    if settings.port == settings.flower_port:
        fail(f"PORT and FLOWER_PORT are both {settings.port}; set one of them to another port")
    check_port(settings.host, settings.port, "PORT", "SWITCHBOARD_HOST")
    check_port(settings.flower_address, settings.flower_port, "FLOWER_PORT", "FLOWER_ADDRESS")
    if catalog.weights:
        model = urlsplit(runtime.model_url)
        name = "SWITCHBOARD_MODEL_URL"
        check_port(model.hostname or "127.0.0.1", model.port or 80, name, name)


class _System:
    """One run of the system."""

    def __init__(
        self,
        settings: Settings,
        runtime: RunningSystem,
        state: StateDirectory,
        commands: dict[str, list[str]],
        socket: Path,
        console: Console,
        began: float,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._state = state
        self._commands = commands
        self._socket = socket
        self._console = console
        self._began = began
        self._environment = self._children_environment()
        self._embedded = settings.configured_redis_url is None
        self._web = web_url(settings.host, settings.port)
        self._flower = flower_url(settings.flower_address, settings.flower_port, settings.flower_url_prefix)
        self._waiting_for: dict[str, str] = {}
        self._said: dict[str, float] = {}
        """When it was last said that a process dies again and again."""
        self._saving: asyncio.TimerHandle | None = None

    def _children_environment(self) -> dict[str, str]:
        # `.env` is read here once and handed on: the children's working directory may be another.
        runtime = self._runtime
        return {
            **{name: value for name, value in dotenv_values(".env").items() if value is not None},
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "REDIS_URL": runtime.configured_redis_url,
            "DATABASE_URL": runtime.configured_database_url,
            "SWITCHBOARD_HOST": runtime.host,
            "PORT": str(runtime.port),
            "FLOWER_ADDRESS": runtime.flower_address,
            "FLOWER_PORT": str(runtime.flower_port),
            "SWITCHBOARD_MODEL_URL": runtime.model_url,
            **({"SWITCHBOARD_MODEL_KEY": runtime.model_key} if runtime.model_key else {}),
            "SWITCHBOARD_MODELS": str(self._settings.models_path.absolute()),
            "SWITCHBOARD_STATE_DIR": str(self._state.path),
        }

    async def run(self, lock: int) -> None:
        """Start, wait for a signal, stop. Raises CommandError when the start fails."""
        supervisor = Supervisor(
            self._state.logs,
            self._console.child_output,
            self._report,
            lock,
            on_recovery=self._report_recovery,
            on_change=lambda: self._save(supervisor),
        )
        stop_asked = self._on_signals(supervisor)
        starting = asyncio.create_task(self._start(supervisor))
        watching = asyncio.create_task(end_stuck(self._state.path, lambda: supervisor.states, self._console.warn))
        try:
            await _first_of(starting, stop_asked, supervisor.gave_up)
            if supervisor.gave_up.done():
                supervisor.gave_up.result()
            if starting.done():
                starting.result()
                supervisor.settle()
                await stop_asked
        except GaveUp as error:
            raise CommandError(f"{error}; the rest of its output: {self._state.logs}") from None
        finally:
            watching.cancel()
            starting.cancel()
            supervisor.gave_up.cancel()
            await asyncio.wait({watching, starting, supervisor.gave_up})
            await self._stop(supervisor)

    def _on_signals(self, supervisor: Supervisor) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[None] = loop.create_future()

        def stop() -> None:
            if asked.done():
                self._console.warn("stopping at once")
                supervisor.kill()
            else:
                asked.set_result(None)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        return asked

    async def _start(self, supervisor: Supervisor) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._start_parts(supervisor)
        except TimeoutError:
            missing = "; ".join(f"{name}: {problem}" for name, problem in self._waiting_for.items())
            fail(f"not ready after {START_TIMEOUT:.0f} s: {missing or 'the database'}; see {self._state.logs}")

    async def _start_parts(self, supervisor: Supervisor) -> None:
        # Valkey and the model load while the database is migrated; the rest needs both stores.
        waits: list[Awaitable[None]] = []
        if self._embedded:
            supervisor.start(valkey_program(self._socket, self._state.valkey, self._environment))
            waits.append(self._valkey_ready())
        if "model" in self._commands:
            supervisor.start(self._program("model"))
            health = self._runtime.model_url.removesuffix("/v1") + "/health"
            model = asyncio.create_task(self._ready("model", lambda: problem_at(health), "loaded"))
        else:
            model = None
        try:
            await asyncio.gather(self._migrate(), *waits)
            for name in self._commands:
                if name != "model":
                    supervisor.start(self._program(name))
            await asyncio.gather(
                self._ready("web", lambda: problem_at(f"{self._web}/healthz"), "answers"),
                self._ready("workers", lambda: problem_at(f"{self._web}/readyz"), "on every queue"),
                self._ready("flower", lambda: problem_at(f"{self._flower}/healthcheck"), "answers"),
                *([model] if model else []),
            )
            await self._ready("processes", self._unsteady(supervisor), "all run")
        finally:
            if model:
                model.cancel()
        self._announce()

    async def _migrate(self) -> None:
        began = time.monotonic()
        change = await migrated(self._environment, PROJECT)
        self._console.step("database", change, time.monotonic() - began)

    async def _valkey_ready(self) -> None:
        async def problem() -> str | None:
            return None if await valkey_answers(self._socket) else f"no answer at {self._socket}"

        await self._ready("valkey", problem, "answers")
        await disown(self._socket)

    async def _ready(self, name: str, problem: Callable[[], Awaitable[str | None]], result: str) -> None:
        began = time.monotonic()
        while found := await problem():
            self._waiting_for[name] = found
            await asyncio.sleep(POLL_INTERVAL)
        self._waiting_for.pop(name, None)
        self._console.step(name, result, time.monotonic() - began)

    def _program(self, name: str) -> Program:
        return Program(name, self._commands[name], self._environment, PROJECT)

    def _announce(self) -> None:
        rows = [
            ("chat page", f"{self._web}/"),
            ("flower", f"{self._flower}/"),
            *([("model", self._runtime.model_url)] if "model" in self._commands else []),
            ("redis", masked(self._runtime.configured_redis_url)),
            ("database", masked(self._runtime.configured_database_url)),
            ("logs", str(self._state.logs)),
        ]
        self._console.line()
        for name, value in rows:
            self._console.line(f"  {name:<10} {value}")
        self._console.line()
        self._console.line(f"Ready in {time.monotonic() - self._began:.1f} s. Ctrl-C stops it.")

    def _unsteady(self, supervisor: Supervisor) -> Callable[[], Awaitable[str | None]]:
        async def problem() -> str | None:
            return f"{', '.join(supervisor.unsteady)} ended" if supervisor.unsteady else None

        return problem

    def _save(self, supervisor: Supervisor) -> None:
        """Tell other shells where the parts are and how they are; on a full disk, as soon as that is possible."""
        if self._saving:
            self._saving.cancel()
        try:
            self._state.write_runtime(replace(self._runtime, children=supervisor.states))
        except OSError as error:
            if self._saving is None:
                self._console.warn(f"{self._state.path} takes no more ({error.strerror}); doctor is told later")
            self._saving = asyncio.get_running_loop().call_later(SAVE_RETRY_INTERVAL, self._save, supervisor)
        else:
            self._saving = None

    def _report(self, death: Death) -> None:
        if death.deaths >= FLAPPING_RESTARTS:
            self._report_trouble(death)
            return
        self._console.warn(
            f"{death.name} ended ({death.reason}, after {death.lived:.1f} s); "
            f"starting it again in {death.restart_in:g} s"
        )
        self._show_last_lines(death)

    def _report_trouble(self, death: Death) -> None:
        """Not each time: the first, and now and then."""
        now = time.monotonic()
        last = self._said.get(death.name)
        if last is not None and now - last < REMINDER_INTERVAL:
            return
        self._said[death.name] = now
        self._console.warn(
            f"{death.name} dies again and again ({death.deaths} times so far, the last time: {death.reason}); "
            f"{consequence(death.name)}. It is still tried, every {MAX_RESTART_DELAY:.0f} s in the end; "
            f"see {self._state.logs / death.name}.log"
        )
        self._show_last_lines(death)

    def _report_recovery(self, name: str, deaths: int) -> None:
        if self._said.pop(name, None) is not None:
            self._console.good(f"{name} lives again, after {deaths} deaths")

    def _show_last_lines(self, death: Death) -> None:
        if not self._console.verbose:
            for line in death.last_lines:
                self._console.child(death.name, line)

    async def _stop(self, supervisor: Supervisor) -> None:
        began = time.monotonic()
        # Valkey last: the workers hand their tasks back, and end their streams, through it.
        await supervisor.stop(self._commands)
        await supervisor.stop(grace=VALKEY_GRACE)
        supervisor.close()
        if self._saving:
            self._saving.cancel()
        self._state.remove_runtime()
        self._console.line(f"Stopped in {time.monotonic() - began:.1f} s.")


async def _first_of(*futures: asyncio.Future[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
