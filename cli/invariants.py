"""`switchboard invariants`: what must hold whatever has died, and what breaks it."""

import click

from cli.console import fail
from cli.services import services

MAX_SHOWN_IDS = 20
"""Ids printed for each invariant; the rest is a number."""


def show_invariants() -> None:
    """Print every invariant, and the ids of what breaks it. Raises CommandError when one is broken."""
    with services() as system:
        results = system.invariants.check()
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
