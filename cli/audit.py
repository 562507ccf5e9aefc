"""`switchboard audit`: the audit log, printed."""

import json
from datetime import UTC, datetime
from difflib import get_close_matches
from uuid import UUID

import click

from cli.console import fail, table
from cli.services import services
from cli.users import found_user
from core.clock import rfc3339
from core.operations.audit import Kind
from core.operations.users import Users
from core.stores.tables import AuditEvent
from core.text.duration import parse_duration

MAX_SHOWN = 100
"""Characters of what was written that are repeated."""


def show_audit(since: str | None, kind: str | None, user: str | None, limit: int | None, as_json: bool) -> None:
    """Print the events, newest last: as a table, or as one JSON object a line. Raises CommandError."""
    since_moment, checked_kind = _moment(since), _kind(kind)
    with services() as system:
        user_id = _user(system.users, user)
        events = system.audit.read(since=since_moment, kind=checked_kind, user_id=user_id, limit=limit)
    if as_json:
        for event in events:
            click.echo(json.dumps(_described(event)))
        return
    if not events:
        click.echo("no such events")
        return
    rows = [tuple(value or "-" for value in _described(event).values()) for event in events]
    for line in table([("AT", "KIND", "USER", "SESSION", "DETAIL"), *rows]):
        click.echo(line)


def _moment(since: str | None) -> datetime | None:
    if since is None:
        return None
    try:
        return datetime.now(UTC) - parse_duration(since)
    except (ValueError, OverflowError) as error:
        fail(f"--since: {error}")


def _kind(kind: str | None) -> Kind | None:
    """The kind of this name: one that is misspelt would look like good news."""
    if kind is None:
        return None
    try:
        return Kind(kind)
    except ValueError:
        near = get_close_matches(kind, list(Kind), n=1)
        meant = f"did you mean {near[0]}? All are" if near else "there are"
        fail(f"--kind: there is no {kind[:MAX_SHOWN]!r}; {meant} {', '.join(Kind)}")


def _user(users: Users, user: str | None) -> UUID | None:
    """The user's id. One that is given as such may be of an account that is gone, whose events are kept."""
    if not user:
        return None
    try:
        return UUID(user)
    except ValueError:
        return found_user(users, user).id


def _described(event: AuditEvent) -> dict[str, str | None]:
    return {
        "at": rfc3339(event.at),
        "kind": event.kind,
        "user_id": str(event.user_id) if event.user_id else None,
        "session_id": str(event.session_id) if event.session_id else None,
        "detail": event.detail,
    }
