"""`switchboard worker` and `switchboard beat`: Celery's own commands, over no more than they need.

The `celery` command also loads every plugin that is installed, such as Flower and an interactive shell, which takes
15 MB of each process that it starts. Pygments, with which it colours what other commands print, takes another.
"""

import re
from collections.abc import Sequence

import click
from celery import Celery

from cli.console import fail
from cli.imports import without
from core.text.characters import one_line

UNKNOWN_QUEUE = re.compile(r"but queue '(.+?)' isn't defined")
"""Celery's words for it."""


def run_worker(arguments: Sequence[str]) -> None:
    """Run a worker until it is told to stop. `arguments` are those of `celery worker`."""
    with without("pygments"):
        from celery.bin.worker import worker

    from workers.app import app

    _run(worker, app, arguments)


def run_beat(arguments: Sequence[str]) -> None:
    """Run the scheduler until it is told to stop. `arguments` are those of `celery beat`."""
    with without("pygments"):
        from celery.bin.beat import beat

    from workers.taskless import app

    _run(beat, app, arguments)


def _run(command: click.Command, app: Celery, arguments: Sequence[str]) -> None:
    from celery.bin.base import CLIContext
    from celery.exceptions import ImproperlyConfigured

    from celery_config import QueueNames

    # Quiet: a banner is no line of a log, and would be written past it.
    context = CLIContext(app=app, no_color=False, workdir=None, quiet=True)
    try:
        command.main(list(arguments), prog_name=f"switchboard {command.name}", obj=context)
    except ImproperlyConfigured as error:
        said = one_line(str(error))
        unknown = UNKNOWN_QUEUE.search(said)
        fail(f"there is no queue {unknown[1]}; take {', '.join(QueueNames.ALL)}" if unknown else said)
