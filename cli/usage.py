"""`switchboard usage`: what users' answers have come to."""

import json

import click

from cli.console import table
from cli.services import services
from cli.users import found_user
from core.llm.prices import money
from core.operations.usage import Grouping, UsageLine
from core.text.characters import one_line


def show_usage(days: int, by: Grouping, user: str | None, limit: int, as_json: bool) -> None:
    """Print it as a table, or as one JSON object a line. Raises CommandError."""
    with services() as system:
        user_id = found_user(system.users, user).id if user else None
        lines = system.usage.totals(system.usage.last(days), by, user_id, limit + 1)
        currency = system.models.currency
    shown = lines[:limit]
    if as_json:
        for line in shown:
            named = {by: line.name, "email": line.email} if by == "user" else {by: line.name}
            click.echo(json.dumps({**named, **_amount(line)}))
        return
    if not shown:
        click.echo("no answers of users in these days")
        return
    heads = (by.upper(), *(("EMAIL",) if by == "user" else ()), "ANSWERS", "PROMPT", "COMPLETION", f"COST {currency}")
    for row in table([heads, *(_row(line, by) for line in shown)]):
        click.echo(row)
    if len(lines) > limit:
        click.echo(f"and more: only {limit} are shown (--limit)")


def _row(line: UsageLine, by: Grouping) -> tuple[str, ...]:
    named = (line.name, one_line(line.email or "-")) if by == "user" else (line.name,)
    return (*named, *map(str, _amount(line).values()))


def _amount(line: UsageLine) -> dict[str, int | str]:
    return {**line.amount._asdict(), "cost": money(line.amount.cost)}
