"""How `switchboard` speaks at the terminal: steps as they are done, warnings, and its children's output."""

import contextlib
import sys
from collections.abc import Iterator
from typing import IO, Any, NoReturn

import click

_CHILD_COLOURS = ("cyan", "magenta", "blue", "green", "yellow", "bright_cyan", "bright_magenta")


class CommandError(click.ClickException):
    """A command can't go on. The message is one line on standard error; the exit status is 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message."""
        click.echo(f"switchboard: {self.format_message()}", file=file or sys.stderr)


def fail(message: str) -> NoReturn:
    """Raise CommandError with the message."""
    raise CommandError(message)


class Console:
    """What is said while the system runs. A closed standard output silences it and stops nothing."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self._colours: dict[str, str] = {}

    def step(self, name: str, result: str, seconds: float) -> None:
        """A part of the start is done."""
        self.line(f"{click.style('✓', fg='green')} {name:<10} {result} ({seconds:.1f} s)")

    def warn(self, message: str) -> None:
        """Something went wrong that is being dealt with."""
        self.line(f"{click.style('!', fg='yellow')} {message}")

    def child(self, name: str, line: str) -> None:
        """One line of a child's output."""
        colour = self._colours.setdefault(name, _CHILD_COLOURS[len(self._colours) % len(_CHILD_COLOURS)])
        self.line(f"{click.style(f'{name:<7} |', fg=colour)} {line}")

    def line(self, text: str = "") -> None:
        """A line as it is."""
        with contextlib.suppress(BrokenPipeError):
            click.echo(text)

    def child_output(self, name: str, line: str) -> None:
        """One line of a running child's output, which is shown only when asked for."""
        if self.verbose:
            self.child(name, line)


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The rows as lines, their columns aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
