"""`switchboard invariants`: what must hold whatever has died, and what breaks it."""

import click

from cli.console import fail
from cli.doctor import running_system_settings
from core.operations.invariants import InvariantResult
from core.text.masking import masked, without_secrets

MAX_SHOWN_IDS = 20
"""Ids printed for each invariant; the rest is a number."""


def show_invariants() -> None:
    """Print every invariant, and the ids of what breaks it. Raises CommandError when one is broken."""
    results = _find()
    for result in results:
        mark = click.style("✗", fg="red") if result.ids else click.style("✓", fg="green")
        click.echo(f"{mark} {result.name:<10} {result.meaning}")
        for each in result.ids[:MAX_SHOWN_IDS]:
            click.echo(f"             {each}")
        if len(result.ids) > MAX_SHOWN_IDS:
            click.echo(f"             and {len(result.ids) - MAX_SHOWN_IDS} more")
    broken = sum(bool(result.ids) for result in results)
    if broken:
        fail(f"{broken} {'invariant is' if broken == 1 else 'invariants are'} broken")


def _find() -> list[InvariantResult]:
    from sqlalchemy.exc import SQLAlchemyError

    from core.errors import Unavailable
    from core.runtime import Runtime
    from core.stores.redis import RedisUnavailable

    settings, _ = running_system_settings()
    runtime = Runtime(settings, redis_retries=0)
    try:
        return runtime.invariants.check()
    except RedisUnavailable as error:
        reason = without_secrets(error.cause, settings.redis_url)
        fail(f"Redis at {masked(settings.redis_url)} can't be read: {reason}")
    except (SQLAlchemyError, ImportError, ValueError, Unavailable) as error:
        cause = error.cause if isinstance(error, Unavailable) else error
        reason = str(getattr(cause, "orig", None) or error).strip().splitlines()[0]
        url = settings.database_url
        fail(f"the database {masked(url)} can't be read: {without_secrets(reason, url)}")
    finally:
        runtime.close()
