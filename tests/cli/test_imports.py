"""What the long-lived processes load, and so keep in memory: each only what it works with."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOMAIN = ("core.runtime", "core.sessions", "sqlalchemy", "workers.app")
PLUGINS = ("click_repl", "flower", "prompt_toolkit", "tornado")
"""What Celery's own command line would load."""


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        ("cli.up", ("alembic", "celery", "redis", "sqlalchemy")),
        ("cli.celery_command, workers.taskless, workers.beat, celery.bin.beat", (*DOMAIN, *PLUGINS)),
        ("cli.flower, workers.taskless", DOMAIN),
        ("web.gunicorn, web.server.http_worker", ("core.runtime", "celery", "redis", "sqlalchemy", "web.app")),
        ("cli.celery_command, workers.app, workers.chat, celery.bin.worker", ("alembic", "flask", *PLUGINS)),
    ],
)
def test_a_process_loads_nothing_that_it_has_no_use_for(imported: str, unwanted: tuple[str, ...]) -> None:
    program = f"import sys, {imported}; app = sys.modules.get('workers.taskless'); app and app.app.finalize()"
    listing = "print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{listing}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert not loaded & set(unwanted)
