"""What the whole system takes of a machine's memory while nobody asks it anything.

    python -m bench.memory

Everything that `switchboard up` starts beside a model, on SQLite and the embedded Valkey, which is counted apart: a
Redis of one's own takes its place. What processes share is counted once (PSS). The baseline is a process that
has imported Flask, Celery, redis and SQLAlchemy and does nothing. Fails when all of it takes more than the limit.
"""

import argparse
import compileall
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.service import Service, memory
from cli.supervision.state_directory import StateDirectory
from tests.e2e.system import System, running
from tests.support.web_process import ROOT

LIMIT = 420.0
"""MB (10^6 bytes) that all may take together."""
SETTLE = 3.0
"""Seconds for which the system has been ready when it is looked at: the first beats and looks are over."""
APART = "valkey"
TESTS_ALONE = ("opentelemetry", "psutil", "yaml")
"""Packages of the extras `dev` and `tracing` that redis-py, Celery and kombu import if they can."""
LIBRARIES = "import flask, celery, celery.app, redis, sqlalchemy.orm"
BASELINE = f"{LIBRARIES}, pathlib, time; pathlib.Path('up').touch(); time.sleep(600)"
MODELS = """
default = "away"

[models.away]
label = "Away"
provider = "openai"
base_url = "http://127.0.0.1:9/v1"
model = "away"
context_tokens = 4096
"""


@dataclass(frozen=True)
class Share:
    """What the processes of one name take."""

    name: str
    processes: int
    megabytes: float


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"MB that all may take together ({LIMIT:.0f})")
    asked = parser.parse_args()
    _compile()
    directory = Path(tempfile.mkdtemp(prefix="sb-bench-"))
    try:
        shares = _idle(directory)
        baseline = _baseline(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    tell(shares, baseline, asked.limit)


def tell(shares: Sequence[Share], baseline: float, limit: float) -> None:
    """Print the shares, and what they are together, in MB. Raises SystemExit when that is more than the limit."""
    total = sum(share.megabytes for share in shares if share.name != APART)
    print("             processes   MB (PSS)")
    for share in shares:
        note = "   apart" if share.name == APART else ""
        print(f"{share.name:<12} {share.processes:>9} {share.megabytes:>10.1f}{note}")
    print(f"{'all':<12} {'':>9} {total:>10.1f}   limit {limit:.0f}")
    print(f"{'baseline':<12} {1:>9} {baseline:>10.1f}   all are {total / baseline:.1f} times that", flush=True)
    if total > limit:
        raise SystemExit(f"the idle system takes {total:.1f} MB and may take {limit:g}")


def _compile() -> None:
    """Where bytecode is missing, each process compiles what it imports, and keeps the memory that this took."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for place in (sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]):
        compileall.compile_dir(place, quiet=2)
    for room in ("core", "web", "workers", "cli"):
        compileall.compile_dir(ROOT / room, quiet=2)


def _idle(directory: Path) -> Sequence[Share]:
    models = directory / "models.toml"
    models.write_text(MODELS)
    with running(directory / "state", SWITCHBOARD_MODELS=str(models), **_as_installed(directory)) as system:
        time.sleep(SETTLE)
        shares = _shares(system)
        assert system.ready(), system.output
    return shares


def _as_installed(directory: Path) -> dict[str, str]:
    """The environment of an installation without what only the tests have, and libraries load wherever it is: for
    redis-py that is OpenTelemetry, 5 MB in each process."""
    absent = "".join(f"sys.modules[{name!r}] = None\n" for name in TESTS_ALONE)
    (directory / "sitecustomize.py").write_text(f"import sys\n{absent}")
    return {"PYTHONPATH": str(directory)}


def _shares(system: System) -> Sequence[Share]:
    told = StateDirectory(system.state_dir).read_runtime()
    assert told is not None
    families = {}
    for name, state in told.children.items():
        assert state.pid is not None, name
        root = psutil.Process(state.pid)
        families[name] = [root, *root.children(recursive=True)]
    named = {process.pid for family in families.values() for process in family}
    families["up"] = [process for process in system.processes() if process.pid not in named]
    return [Share(name, len(family), memory(family) / 1e6) for name, family in families.items()]


def _baseline(directory: Path) -> float:
    begun, log = directory / "up", directory / "baseline.log"
    command = [sys.executable, "-c", BASELINE]
    service = Service(
        command, begun.exists, directory=directory, log=log, environment={**os.environ, **_as_installed(directory)}
    )
    with closing(service):
        service.await_ready()
        return memory([service.process]) / 1e6


if __name__ == "__main__":
    main()
