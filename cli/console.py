"""How `switchboard` speaks at the terminal: steps as they are done, warnings, and its children's output."""

import contextlib
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any, NoReturn

import click

from core.observability.formatters import LogFormat, new_formatter
from core.observability.told import told

_CHILD_COLOURS = ("cyan", "magenta", "blue", "green", "yellow", "bright_cyan", "bright_magenta")

MAX_PENDING_LINES = 1000
"""Lines that wait to be written; beyond that they are lost. Two seconds of a busy system's whole output."""


class CommandError(click.ClickException):
    """A command can't go on. The message is one line on standard error; the exit status is 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message."""
        click.echo(f"switchboard: {self.format_message()}", file=file or sys.stderr)


def fail(message: str) -> NoReturn:
    """Raise CommandError with the message."""
    raise CommandError(message)


class Console:
    """What is said while the system runs, on standard output or another descriptor.

    A thread of its own writes: a terminal that is gone, a full disk or a pipe that is not read can neither stop nor
    delay the callers. Lines that find no place are lost, and how many is said when there is place again.
    """

    def __init__(self, verbose: bool = False, descriptor: int | None = None, log_format: LogFormat = "text") -> None:
        """With `log_format` json all that is said is one object a line, as the processes' logs are."""
        self.verbose = verbose
        self._json = new_formatter("json") if log_format == "json" else None
        # Python has no standard output where it was started without: then number 1 is some other file's by now.
        standard = sys.stdout.fileno() if sys.stdout is not None else None
        self._descriptor = standard if descriptor is None else descriptor
        self._plain = self._descriptor is None or not os.isatty(self._descriptor)
        self._colours: dict[str, str] = {}
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_PENDING_LINES)
        self._refused = 0
        """Lines that found no place in the queue, ever; and how many lines in all have been said to be missing."""
        self._admitted = 0
        self._unwritten = 0
        self._writer = threading.Thread(target=self._write_all, name="console", daemon=True)
        self._writer.start()

    def step(self, name: str, result: str, seconds: float) -> None:
        """A part of the start is done."""
        said = f"{name:<10} {result} ({seconds:.1f} s)"
        self._say(f"{click.style('✓', fg='green')} {said}", "up", f"{name} {result} ({seconds:.1f} s)")

    def good(self, message: str) -> None:
        """Something that went wrong is well again."""
        self._say(f"{click.style('✓', fg='green')} {message}", "up", message)

    def warn(self, message: str) -> None:
        """Something went wrong that is being dealt with."""
        self._say(f"{click.style('!', fg='yellow')} {message}", "up", message, logging.WARNING)

    def child(self, name: str, line: str) -> None:
        """One line of a child's output."""
        colour = self._colours.setdefault(name, _CHILD_COLOURS[len(self._colours) % len(_CHILD_COLOURS)])
        self._say(f"{click.style(f'{name:<7} |', fg=colour)} {line}", name, line)

    def line(self, text: str = "") -> None:
        """A line as it is."""
        self._say(text, "up", text.strip())

    def _say(self, text: str, process: str, message: str, level: int = logging.INFO) -> None:
        if self._json is not None:
            if not message:
                return
            text = message if _is_object(message) else _as_object(self._json, process, message, level)
        try:
            self._lines.put_nowait(click.unstyle(text) if self._plain else text)
        except queue.Full:
            self._refused += 1

    def child_output(self, name: str, line: str) -> None:
        """One line of a running child's output, which is shown only when asked for."""
        if self.verbose:
            self.child(name, line)

    @property
    def pending(self) -> int:
        """Lines that have not been written yet, or tried to."""
        return self._lines.unfinished_tasks

    def close(self, patience: float = 1.0) -> None:
        """Wait until all has been written, for `patience` seconds at the most."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=patience)
            self._writer.join(patience)

    def _write_all(self) -> None:
        while (text := self._lines.get()) is not None:
            refused = self._refused
            lost = refused - self._admitted + self._unwritten
            notice = self._notice(lost) if lost else ""
            if self._written(f"{notice}{text}\n"):
                self._admitted, self._unwritten = refused, 0
            else:
                self._unwritten += 1
            self._lines.task_done()

    def _notice(self, lost: int) -> str:
        said = f"(lines missing here, which could not be shown: {lost})"
        return f"{said if self._json is None else _as_object(self._json, 'up', said, logging.WARNING)}\n"

    def _written(self, text: str) -> bool:
        if self._descriptor is None:
            return True
        # Not through sys.stdout: its lock, held by a thread that can't write, would hold up the end of the process.
        data = text.encode(errors="replace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return False
        return True


def _is_object(line: str) -> bool:
    """Whether it is one that a child has logged."""
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _as_object(formatter: logging.Formatter, process: str, message: str, level: int) -> str:
    said = {
        "name": __name__,
        "msg": click.unstyle(message),
        "levelno": level,
        "levelname": logging.getLevelName(level),
    }
    return formatter.format(told(logging.makeLogRecord(said), process, str))


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The rows as lines, their columns aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
