"""`switchboard users`: the users there are, the ends of their accounts, and limits of their own."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from cli.console import fail, table
from cli.services import services
from core.clock import rfc3339
from core.llm.prices import money
from core.text.characters import one_line

if TYPE_CHECKING:
    from core.operations.users import ListedUser, User, Users

DAYS = 30
"""Of the usage that is shown beside a user."""
DEFAULT = "default"
"""In the place of a limit: everybody's."""


def list_users(match: str | None, after: str | None, limit: int, as_json: bool) -> None:
    """Print them as a table, or as one JSON object a line. Raises CommandError."""
    with services() as system:
        before = found_user(system.users, after).id if after else None
        found = system.users.page(system.usage.last(DAYS), match=match, after=before, limit=limit + 1)
        currency = system.models.currency
    shown = found[:limit]
    if as_json:
        for each in shown:
            click.echo(json.dumps(_described(each)))
        return
    if not shown:
        click.echo("no such users")
        return
    heads = ("ID", "EMAIL", "CREATED", "ACTIVE", "SESSIONS", f"TOKENS {DAYS}D", f"{currency} {DAYS}D", "OWN LIMITS")
    for line in table([heads, *map(_row, shown)]):
        click.echo(line)
    if len(found) > limit:
        click.echo(f"and more: switchboard users list --after {shown[-1].user.id}")


def close_user(name: str, unasked: bool) -> None:
    """Close the account. Raises CommandError."""
    with services() as system:
        user = found_user(system.users, name)
        if not unasked:
            click.confirm(f"Delete {_called(user)} ({user.id}) with all sessions, words and keys?", abort=True)
        gone = system.accounts.close(user.id)
    click.echo(f"{user.id} is closed" + ("" if gone else "; what hangs on it is removed by the next sweeps"))


def change_limits(name: str, changes: Mapping[str, str]) -> None:
    """Print the user's own limits, after the changes. Raises CommandError."""
    from core.errors import Unavailable
    from core.operations.audit import Kind

    with services() as system:
        user = found_user(system.users, name)
        own: Mapping[str, str] = user.limits or {}
        if changes:
            try:
                wanted = {policy: None if text == DEFAULT else text for policy, text in changes.items()}
                own = system.users.change_limits(user.id, wanted)
            except ValueError as error:
                fail(f"--{error}")
            system.audit.record(Kind.LIMITS_CHANGED, user_id=user.id, detail=_limits(changes))
            try:
                system.message_limits.refill(user.id, changes)
            except Unavailable:
                click.echo("Redis is away: what has been used of the limits counts on", err=True)
    click.echo(f"{user.id} has {_limits(own) if own else 'no limits of its own'}")


def found_user(users: "Users", name: str) -> "User":
    """The user of this id or address. Raises CommandError."""
    from core.operations.users import UnknownUser

    try:
        return users.find(name)
    except UnknownUser as error:
        fail(f"{error}; `switchboard users list --match` finds parts of addresses")


def _called(user: "User") -> str:
    return one_line(user.email or f"{user.oidc_subject} of {user.oidc_issuer}")


def _limits(limits: Mapping[str, str]) -> str:
    return " ".join(f"{policy}={text}" for policy, text in sorted(limits.items()))


def _row(listed: "ListedUser") -> tuple[str, ...]:
    user = listed.user
    closed = " (closed)" if user.deleted_at else ""
    active = listed.active_at.date().isoformat() if listed.active_at else "-"
    figures = str(listed.sessions), str(listed.tokens), money(listed.cost)
    created = user.created_at.date().isoformat()
    return (str(user.id), _called(user) + closed, created, active, *figures, _limits(user.limits or {}) or "-")


def _described(listed: "ListedUser") -> dict[str, Any]:
    user = listed.user
    return {
        "user_id": str(user.id),
        "email": user.email,
        "oidc_issuer": user.oidc_issuer,
        "oidc_subject": user.oidc_subject,
        "created_at": rfc3339(user.created_at),
        "active_at": rfc3339(listed.active_at) if listed.active_at else None,
        "closed_at": rfc3339(user.deleted_at) if user.deleted_at else None,
        "sessions": listed.sessions,
        "tokens": listed.tokens,
        "cost": money(listed.cost),
        "limits": user.limits or {},
    }
