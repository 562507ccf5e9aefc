"""`switchboard doctor`: every part of the system, whether it works, and what to do if not."""

import asyncio
import contextlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import click

from cli.addresses import check_flower_guarded, check_port, flower_url, web_url
from cli.configuration import read_catalog, read_settings
from cli.connections import look_at_connections
from cli.console import CommandError, fail
from cli.finding import Finding
from cli.local_servers import problem_at
from cli.model_lists import look_at_models, with_cooldown
from cli.models import local_server, read_keys
from cli.stores import configured_broker
from cli.supervision.children import consequence
from cli.supervision.state_directory import StateDirectory
from core.llm.catalog import ModelCatalog
from core.llm.cooldown import Cooldown, Cooldowns
from core.operations.preflight.redis_causes import ALLOW
from core.operations.preflight.stores import find_mistakes
from core.settings import Settings
from core.stores.redis_url import is_redis
from core.text.masking import masked, without_secrets
from core.text.secret_files import secrets_directory

BROKER_TIMEOUT = 2.0
"""Seconds to reach the broker, and to wait for the workers' answers."""


def doctor() -> None:
    """Print every finding. Raises CommandError when a part fails."""
    settings, running = running_system_settings()
    checks: list[Callable[[], Iterable[Finding]]] = [
        _python,
        lambda: [Finding("settings", "valid")],
        lambda: _secrets(settings),
        lambda: _state(settings),
        lambda: _system(settings, running),
        lambda: _children(settings),
        lambda: _models(settings),
        lambda: _database(settings),
        lambda: _redis(settings),
        lambda: _broker(settings),
        lambda: _schedule(settings),
        lambda: _clocks(settings),
        lambda: _oidc(settings),
        lambda: _servers(settings, running),
    ]
    # First, for threads that meet in the circles of SQLAlchemy's modules fail.
    importlib.import_module("core.operations.preflight.installation")
    failures = 0
    # All at once, since each may have to wait for something that does not answer; told in this order.
    with ThreadPoolExecutor(len(checks)) as threads:
        for found in threads.map(lambda check: list(check()), checks):
            for finding in found:
                failures += finding.fails
                _show(finding)
    if failures:
        fail(f"{failures} {'part needs' if failures == 1 else 'parts need'} attention")


def running_system_settings() -> tuple[Settings, bool]:
    """The settings, with those of a running `switchboard up` before them, and whether there is one."""
    settings = read_settings()
    running = StateDirectory(settings.state_dir).read_runtime()
    if running is None:
        return settings, False
    return read_settings(running.settings), True


def _show(finding: Finding) -> None:
    colours = {"✗": "red", "!": "yellow", "✓": "green"}
    click.echo(f"{click.style(finding.mark, fg=colours[finding.mark])} {finding.part:<10} {finding.detail}")
    if finding.remedy:
        click.echo(f"             {finding.remedy}")


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Finding("python", version, "Install Python 3.11 or newer." if old else "")


def _secrets(settings: Settings) -> Iterator[Finding]:
    directory = settings.secrets_dir or secrets_directory()
    if directory is not None and directory.is_dir():
        names = ", ".join(sorted(path.name for path in directory.iterdir() if path.is_file()))
        yield Finding("secrets", f"{directory} holds {names or 'no file'}")


def _state(settings: Settings) -> Iterator[Finding]:
    state = StateDirectory(settings.state_dir)
    try:
        state.require_usable()
    except CommandError as error:
        yield _mistaken("state", error.message)
        return
    if lack := state.full():
        yield Finding("state", lack, "Free some of it: no log, and no embedded store, is written meanwhile.")
    else:
        yield Finding("state", f"{state.path} can be written")


def _mistaken(part: str, mistake: object) -> Finding:
    """A mistake's last words say what to do."""
    wrong, _, right = str(mistake).rpartition("; ")
    return Finding(part, wrong, right[:1].upper() + right[1:])


def _system(settings: Settings, running: bool) -> Iterator[Finding]:
    if running:
        yield Finding("system", f"`switchboard up` runs on {settings.state_dir.absolute()}")
        return
    yield Finding("system", f"`switchboard up` does not run on {settings.state_dir.absolute()}")
    try:
        check_flower_guarded(settings.flower_address, settings.flower_basic_auth is not None)
    except CommandError as error:
        yield _mistaken("flower", error.message)
    # With a configured Redis the processes may be run by something else, and the ports are rightly taken.
    if settings.configured_redis_url is None:
        for host, port, name, address_name in (
            (settings.host, settings.port, "PORT", "SWITCHBOARD_HOST"),
            (settings.flower_address, settings.flower_port, "FLOWER_PORT", "FLOWER_ADDRESS"),
        ):
            try:
                check_port(host, port, name, address_name)
            except CommandError as error:
                yield Finding("port", error.message, "Stop what listens there, or choose another port.")
            else:
                yield Finding("port", f"{port} is free ({name})")


def _children(settings: Settings) -> Iterator[Finding]:
    state = StateDirectory(settings.state_dir)
    running = state.read_runtime()
    if running is None or not running.children:
        return
    ill = {name: child.trouble for name, child in running.children.items() if child.trouble}
    for name, trouble in ill.items():
        yield Finding("process", f"{name} {trouble}: {consequence(name)}", f"See {state.logs / name}.log.")
    if not ill:
        yield Finding("processes", f"{', '.join(running.children)} run")


def _models(settings: Settings) -> Iterator[Finding]:
    try:
        catalog = read_catalog(settings)
    except CommandError as error:
        yield Finding("models", error.message, "Correct the file; its comments show what a table may hold.")
        return
    yield Finding("models", f"{settings.models_path} offers {', '.join(catalog.models)}")
    yield from _prices(settings, catalog)
    read_keys()
    cooldowns = _cooldowns(settings, catalog)
    looked = look_at_models(catalog, local_server(settings))
    for (name, model), found in zip(catalog.models.items(), looked, strict=True):
        yield with_cooldown(name, model, found, cooldowns.get(name))


def _prices(settings: Settings, catalog: ModelCatalog) -> Iterator[Finding]:
    free = [name for name, model in catalog.models.items() if model.input_price is None]
    if free and (settings.limit_cost_user or settings.limit_cost_anonymous):
        detail = f"there is a budget in money, and no price of {', '.join(free)}: their answers cost nothing"
        yield Finding("models", detail, "Set input_price and output_price, to 0 for what is free.", doubtful=True)


def _cooldowns(settings: Settings, catalog: ModelCatalog) -> dict[str, Cooldown]:
    from core.stores.redis import RedisUnavailable, connect

    # A Redis that is away has a line of its own.
    with (
        contextlib.suppress(RedisUnavailable, ValueError),
        contextlib.closing(connect(settings.redis_url)) as client,
    ):
        return Cooldowns(client).active(list(catalog.models))
    return {}


def _database(settings: Settings) -> Iterator[Finding]:
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from core.operations.preflight.database import cause_of, database_mistake
    from core.stores.revisions import COMMAND, schema_of

    shown = masked(settings.database_url)
    url = make_url(settings.database_url)
    missing = url.get_backend_name() == "sqlite" and not _exists(url.database)
    made_by_us = missing and settings.configured_database_url is None  # with its directory
    if not made_by_us and (mistake := database_mistake(settings.database_url)):
        yield _mistaken("database", mistake)
        return
    if missing:
        yield Finding("database", f"{shown} does not exist yet", f"Run: {COMMAND}")
        return
    try:
        schema = schema_of(settings.database_url)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        wrong, right = cause_of(error, settings.database_url)
        yield Finding("database", f"{shown}: {wrong}", f"{right[:1].upper()}{right[1:]}.")
        return
    remedy = ""
    if schema.is_older:
        remedy = f"Run: {COMMAND}"
    elif schema.is_newer:
        remedy = "The version before may run on it; one that is older still may not."
    elif schema.is_foreign:
        remedy = "Name another in DATABASE_URL."
    yield Finding("database", f"{shown} {schema}", remedy, doubtful=schema.is_newer)
    if url.get_backend_name() == "postgresql":
        yield from look_at_connections(
            settings.database_url, settings.database_pool_web, settings.database_pool_worker
        )


def _exists(path: str | None) -> bool:
    return path is not None and Path(path).exists()


def _redis(settings: Settings) -> Iterator[Finding]:
    from core.operations.preflight.installation import installation_mistake, remains_mistake
    from core.operations.preflight.redis import redis_mistake
    from core.stores.redis import RedisUnavailable, connect

    shown = masked(settings.redis_url)
    mistake = redis_mistake("REDIS_URL", settings.redis_url)
    if mistake is not None and not mistake.harmless:
        found = _mistaken("redis", mistake)
        own = settings.configured_redis_url is None
        yield replace(found, remedy="Start it (switchboard up), or set REDIS_URL.") if own else found
        return
    with contextlib.suppress(RedisUnavailable), contextlib.closing(connect(settings.redis_url)) as client:
        info = client.info("server")
        version = info.get("valkey_version") or info.get("redis_version")
        yield Finding("redis", f"{shown} answers, version {version}, runs scripts")
    if mistake is not None:
        yield _mistaken("redis", mistake)
    stores = settings.redis_url, settings.database_url
    if shared := installation_mistake(*stores):
        yield _mistaken("redis", shared)
    elif remains := remains_mistake(*stores):
        yield replace(_mistaken("redis", remains), doubtful=True)


def _broker(settings: Settings) -> Iterator[Finding]:
    from celery import Celery

    from broker.connection import AMQP
    from broker.queue_type import mismatch
    from celery_config import QueueNames, queues

    shown = masked(settings.broker_url)
    if mistakes := find_mistakes(configured_broker(settings)):
        yield _mistaken("broker", mistakes[0])
        return
    app = Celery(broker=settings.broker_url, amqp=AMQP)
    app.conf.broker_transport_options = {"socket_timeout": BROKER_TIMEOUT, "socket_connect_timeout": BROKER_TIMEOUT}
    app.conf.task_queues = queues(settings.queue_type)
    try:
        consumed_by = app.control.inspect(timeout=BROKER_TIMEOUT).active_queues() or {}
    except Exception as error:  # every transport has errors of its own
        reason = without_secrets(error, settings.broker_url)
        remedy = "Start it (switchboard up), or correct BROKER_URL."
        if "no permissions" in reason.lower():  # Redis's words, whatever kombu makes of the error
            remedy = f"{ALLOW[:1].upper()}{ALLOW[1:]}"
        yield Finding("broker", f"{shown}: {reason}", remedy)
        return
    yield Finding("broker", f"{shown} answers")
    for name in QueueNames.ALL:
        workers = sorted(
            node for node, consumed in consumed_by.items() if name in {queue["name"] for queue in consumed}
        )
        if workers:
            yield Finding("queue", f"{name} is consumed by {', '.join(workers)}")
        else:
            wrong = "" if is_redis(settings.broker_url) else mismatch(app, settings.queue_type, name)
            remedy = wrong or "Start the workers: switchboard up, or their Procfile lines."
            yield Finding("queue", f"no worker consumes {name}", remedy)


def _schedule(settings: Settings) -> Iterator[Finding]:
    from core.operations.job_runs import JOBS, JobRuns
    from core.stores.redis import RedisUnavailable, connect

    # A Redis that is away has had its line, and a system that does not run has no schedule.
    with (
        contextlib.suppress(RedisUnavailable),
        contextlib.closing(connect(settings.redis_url)) as client,
    ):
        overdue = JobRuns(client).overdue()
        if not overdue:
            yield Finding("schedule", f"{', '.join(JOBS)} have run lately")
        for job in overdue:
            remedy = (
                "See that beat and a worker of the maintenance queue run: their logs say what keeps them from it."
            )
            yield Finding("schedule", f"{job} has not run lately", remedy)


def _clocks(settings: Settings) -> Iterator[Finding]:
    from core.operations.preflight.clock import database_clock_mistake, redis_clock_mistake

    found = redis_clock_mistake(settings.redis_url), database_clock_mistake(settings.database_url)
    for mistake in found:
        if mistake is not None:
            yield _mistaken("clock", mistake)


def _oidc(settings: Settings) -> Iterator[Finding]:
    if settings.oidc_issuer is None:
        return
    from core.auth.issuer import LOGIN_ENDPOINTS, Issuer, IssuerFault  # the cryptography takes its time

    issuer = Issuer(settings.oidc_issuer, settings.oidc_jwks_url)
    try:
        keys = issuer.look(*LOGIN_ENDPOINTS if settings.oidc_login else ())
    except IssuerFault as fault:
        yield _mistaken("oidc", fault.mistake)
        return
    yield Finding("oidc", f"{masked(issuer.url)} is the issuer by its own word, with {len(keys)} usable keys")
    if settings.oidc_audience is None and settings.oidc_client_id is None:
        remedy = "Set SWITCHBOARD_OIDC_AUDIENCE for bearer tokens, SWITCHBOARD_OIDC_CLIENT_ID for browsers."
        yield Finding("oidc", "nobody can log in with it", remedy, doubtful=True)


def _servers(settings: Settings, running: bool) -> Iterator[Finding]:
    web = f"{web_url(settings.host, settings.port)}/readyz"
    flower = f"{flower_url(settings.flower_address, settings.flower_port, settings.flower_url_prefix)}/healthcheck"
    remedy = f"See {settings.state_dir.absolute() / 'logs'}." if running else "Start the system: switchboard up"

    async def ask() -> tuple[str | None, str | None]:
        return await asyncio.gather(problem_at(web), problem_at(flower))

    for part, url, problem in zip(("web", "flower"), (web, flower), asyncio.run(ask()), strict=True):
        if problem and problem.startswith(f"{url} answers {HTTPStatus.SERVICE_UNAVAILABLE}"):
            yield Finding(part, problem, "It runs: see to what is missing, in the lines above.")
        else:
            yield Finding(part, problem or f"{url} answers", remedy if problem else "")
