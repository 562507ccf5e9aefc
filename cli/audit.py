"""`switchboard audit`: the audit log, printed."""

import json
from datetime import UTC, datetime
from uuid import UUID

import click

from cli.console import fail, table
from cli.services import services
from core.clock import rfc3339
from core.stores.tables import AuditEvent
from core.text.duration import parse_duration


def show_audit(since: str | None, kind: str | None, user: str | None, limit: int | None, as_json: bool) -> None:
    """Print the events, newest last: as a table, or as one JSON object a line. Raises CommandError."""
    since_moment, user_id = _moment(since), _user(user)
    with services() as system:
        events = system.audit.read(since=since_moment, kind=kind, user_id=user_id, limit=limit)
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


def _user(user: str | None) -> UUID | None:
    try:
        return UUID(user) if user else None
    except ValueError:
        fail(f"--user: {user!r} is not a user's id")


def _described(event: AuditEvent) -> dict[str, str | None]:
    return {
        "at": rfc3339(event.at),
        "kind": event.kind,
        "user_id": str(event.user_id) if event.user_id else None,
        "session_id": str(event.session_id) if event.session_id else None,
        "detail": event.detail,
    }
