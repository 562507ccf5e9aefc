"""The stores that a process needs, tried before it starts."""

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from threading import Thread

from core.operations.preflight.mistake import Mistake, with_value
from core.operations.preflight.redis import redis_mistake
from core.stores.redis_url import RedisServer, is_redis

DEADLINE = 5.0
"""Seconds for all, which are tried at the same time. What resolves names may take longer, and has no deadline."""

Check = Callable[[], Mistake | None]
Checks = Mapping[str, Check]
"""By setting and value."""


def store_checks(
    *,
    redis_url: str | None = None,
    broker_url: str | None = None,
    broker_variable: str = "BROKER_URL",
    database_url: str | None = None,
    migrated: bool = False,
) -> dict[str, Check]:
    """What tries them. A broker has a check of its own if it is another Redis.

    With `migrated`, a database that is not migrated is a mistake, too."""
    checks: dict[str, Check] = {}
    if redis_url is not None:
        checks[with_value("REDIS_URL", redis_url)] = lambda: redis_mistake("REDIS_URL", redis_url)
    if broker_url is not None and is_redis(broker_url):
        server = RedisServer.parse(broker_url)
        if redis_url is None or server != RedisServer.parse(redis_url):
            checks[with_value(broker_variable, broker_url)] = lambda: redis_mistake(broker_variable, server.redis_url)
    if database_url is not None:
        # Beat and Flower need none of it. Not in the threads, which fail when they meet in circles of modules.
        from core.operations.preflight.database import database_mistake
        from core.operations.preflight.installation import installation_mistake
        from core.operations.preflight.schema import schema_mistake

        checks[with_value("DATABASE_URL", database_url)] = lambda: (
            database_mistake(database_url) or (schema_mistake(database_url) if migrated else None)
        )
        if redis_url is not None:
            checks["installation"] = lambda: installation_mistake(redis_url, database_url)
    return checks


def find_mistakes(checks: Checks) -> list[Mistake]:
    """What all of them have found within the deadline that keeps something from being used."""
    return [mistake for mistake in _find_all(checks) if not mistake.harmless]


def _find_all(checks: Checks) -> list[Mistake]:
    running = {setting: _started(check) for setting, check in checks.items()}
    wait(running.values(), timeout=DEADLINE)
    late = "see whether it is frozen, or its name can't be looked up"
    found = [
        result.result() if result.done() else Mistake(setting, f"no answer within {DEADLINE:g} s", late, passing=True)
        for setting, result in running.items()
    ]
    return [mistake for mistake in found if mistake is not None]


def require_stores(checks: Checks, *, waits: bool = True) -> None:
    """Try the stores for a process that is to run. What is harmless for now is said on standard error, and what may
    pass by itself as well, if it `waits` for that.

    Raises SystemExit with the line that says what else is wrong.
    """
    mistakes = _find_all(checks)
    for mistake in mistakes:
        if not mistake.harmless and not (mistake.passing and waits):
            raise SystemExit(f"switchboard: {mistake}")
    for mistake in mistakes:
        end = "" if mistake.harmless else "; trying again"
        print(f"switchboard: {mistake}{end}", file=sys.stderr, flush=True)  # noqa: T201


def _started(check: Check) -> "Future[Mistake | None]":
    result: Future[Mistake | None] = Future()

    def run() -> None:
        try:
            result.set_result(check())
        except BaseException as error:
            result.set_exception(error)

    # Not an executor's: at the end of the process those are waited for.
    Thread(target=run, name="preflight", daemon=True).start()
    return result
