"""`switchboard invariants`: what must hold whatever has died, and what breaks it."""

import click

from cli.console import fail
from cli.services import services

MAX_SHOWN_IDS = 20
"""Ids printed for each invariant; the rest is a number."""


def show_invariants() -> None:
    """Print every invariant, and the ids of what breaks it. Raises CommandError when one is broken."""
    with services() as system:
        results, unchecked = system.invariants.check(), system.invariants.unchecked()
    for result in results:
        mark = click.style("✗", fg="red") if result.ids else click.style("✓", fg="green")
        click.echo(f"{mark} {result.name:<10} {result.meaning}")
        for each in result.ids[:MAX_SHOWN_IDS]:
            click.echo(f"             {each}")
        if len(result.ids) > MAX_SHOWN_IDS:
            click.echo(f"             and {len(result.ids) - MAX_SHOWN_IDS} more")
    for each in unchecked:
        click.echo(f"{click.style('✗', fg='red')} {each:<10} could not be checked")
    broken = sum(bool(result.ids) for result in results)
    wrong = [
        *([f"{broken} {'invariant is' if broken == 1 else 'invariants are'} broken"] if broken else []),
        *([f"{len(unchecked)} could not be checked"] if unchecked else []),
    ]
    if wrong:
        fail(", ".join(wrong))
