"""`switchboard doctor`: every part of the system, whether it works, and what to do if not."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from cli.addresses import check_port, local_client, problem_at, web_url
from cli.configuration import read_catalog, read_settings
from cli.connections import look_at_connections
from cli.console import CommandError, fail
from cli.finding import Finding
from cli.model_lists import look_at_models, with_cooldown
from cli.models import local_server, read_keys
from cli.supervision.children import consequence
from cli.supervision.state_directory import StateDirectory
from core.llm.catalog import ModelCatalog
from core.llm.cooldown import Cooldown, Cooldowns
from core.settings import Settings
from core.stores.redis_url import is_redis
from core.text.masking import masked, without_secrets

BROKER_TIMEOUT = 2.0
"""Seconds to reach the broker, and to wait for the workers' answers."""


def doctor() -> None:
    """Print every finding. Raises CommandError when a part fails."""
    settings, running = running_system_settings()
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        lambda: iter([Finding("settings", "valid")]),
        lambda: _system(settings, running),
        lambda: _children(settings),
        lambda: _models(settings),
        lambda: _database(settings),
        lambda: _redis(settings),
        lambda: _broker(settings),
        lambda: _schedule(settings),
        lambda: _servers(settings, running),
    ]
    failures = 0
    for check in checks:
        for finding in check():
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


def _system(settings: Settings, running: bool) -> Iterator[Finding]:
    if running:
        yield Finding("system", f"`switchboard up` runs on {settings.state_dir.absolute()}")
        return
    yield Finding("system", f"`switchboard up` does not run on {settings.state_dir.absolute()}")
    # With a configured Redis the processes may be run by something else, and the ports are rightly taken.
    if settings.configured_redis_url is None:
        for host, port, name in (
            (settings.host, settings.port, "PORT"),
            ("127.0.0.1", settings.flower_port, "FLOWER_PORT"),
        ):
            try:
                check_port(host, port, name)
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
    read_keys()
    cooldowns = _cooldowns(settings, catalog)
    looked = look_at_models(catalog, local_server(settings))
    for (name, model), found in zip(catalog.models.items(), looked, strict=True):
        yield with_cooldown(name, model, found, cooldowns.get(name))


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

    from core.migrations.runner import current_revision, newest_revision

    shown = masked(settings.database_url)
    try:
        url = make_url(settings.database_url)
        if url.get_backend_name() == "sqlite" and not _exists(url.database):
            yield Finding("database", f"{shown} does not exist yet", "Run: switchboard migrate")
            return
        revision, newest = current_revision(settings.database_url), newest_revision()
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        reason = without_secrets(reason, settings.database_url)
        yield Finding("database", f"{shown}: {reason}", "Start the database server, or correct DATABASE_URL.")
        return
    behind = revision != newest
    detail = f"{shown} is at revision {revision}" + (f", not {newest}" if behind else "")
    yield Finding("database", detail, "Run: switchboard migrate" if behind else "")
    if url.get_backend_name() == "postgresql":
        yield from look_at_connections(
            settings.database_url, settings.database_pool_web, settings.database_pool_worker
        )


def _exists(path: str | None) -> bool:
    return path is not None and Path(path).exists()


def _redis(settings: Settings) -> Iterator[Finding]:
    from core.stores.cluster import refuse_cluster
    from core.stores.redis import RedisUnavailable, connect

    shown = masked(settings.redis_url)
    try:
        with contextlib.closing(connect(settings.redis_url)) as client:
            info = client.info("server")
            client.eval("return 1", 0)
            client.delete("sb:nothing")  # one that was demoted, or whose disk is full, answers and keeps nothing
            policy = client.info("memory").get("maxmemory_policy")
        refuse_cluster(REDIS_URL=settings.redis_url, BROKER_URL=settings.configured_broker_url)
    except (RedisUnavailable, ValueError) as error:
        cause = error.cause if isinstance(error, RedisUnavailable) else error
        reason = without_secrets(cause, settings.redis_url)
        yield Finding("redis", f"{shown}: {reason}", "Start it (switchboard up), or correct REDIS_URL.")
        return
    version = info.get("valkey_version") or info.get("redis_version")
    yield Finding("redis", f"{shown} answers, version {version}, runs scripts")
    if policy not in (None, "noeviction"):
        yield Finding(
            "redis",
            f"maxmemory-policy is {policy}: queues and conversations may be evicted",
            "Set it: CONFIG SET maxmemory-policy noeviction",
        )


def _broker(settings: Settings) -> Iterator[Finding]:
    from celery import Celery

    from broker.queue_type import mismatch
    from celery_config import QueueNames, queues

    app = Celery(broker=settings.broker_url)
    app.conf.broker_transport_options = {"socket_timeout": BROKER_TIMEOUT, "socket_connect_timeout": BROKER_TIMEOUT}
    app.conf.task_queues = queues(settings.queue_type)
    shown = masked(settings.broker_url)
    try:
        with app.connection_for_read(connect_timeout=BROKER_TIMEOUT) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT)
        consumed_by = app.control.inspect(timeout=BROKER_TIMEOUT).active_queues() or {}
    except Exception as error:  # every transport has errors of its own
        reason = without_secrets(error, settings.broker_url)
        yield Finding("broker", f"{shown}: {reason}", "Start it (switchboard up), or correct BROKER_URL.")
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


def _servers(settings: Settings, running: bool) -> Iterator[Finding]:
    web = f"{web_url(settings.host, settings.port)}/readyz"
    flower = f"{web_url('127.0.0.1', settings.flower_port)}/healthcheck"
    remedy = f"See {settings.state_dir.absolute() / 'logs'}." if running else "Start the system: switchboard up"

    async def ask() -> tuple[str | None, str | None]:
        async with local_client() as client:
            return await asyncio.gather(problem_at(client, web), problem_at(client, flower))

    for part, url, problem in zip(("web", "flower"), (web, flower), asyncio.run(ask()), strict=True):
        yield Finding(part, problem or f"{url} answers", remedy if problem else "")
