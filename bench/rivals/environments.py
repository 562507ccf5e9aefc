"""The rivals' own environments, under build/rivals: made when they are wanted first, by pip and npm."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.web_process import ROOT

PLACE = ROOT / "build" / "rivals"
BIN = Path(sys.executable).parent


class NotInstalled(Exception):
    """A registry is away, or has no such package."""


def python(name: str, *packages: str) -> Path:
    """The interpreter of an environment that has the newest of these packages, or those that it has already."""
    place = PLACE / name
    interpreter = place / "bin" / "python"
    if not interpreter.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    wanted = [package.partition("[")[0] for package in packages]
    pip = [str(interpreter), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    if subprocess.run([*pip, "show", *wanted], capture_output=True, check=False).stderr:
        print(f"installing {', '.join(packages)} into {place.relative_to(ROOT)}", flush=True)
        _install([*pip, "install", *packages])
    return interpreter


def python_versions(interpreter: Path, *packages: str) -> str:
    """What the environment has of these packages."""
    look = "import importlib.metadata as m, sys; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]), sep=', ')"
    return subprocess.run(
        [str(interpreter), "-c", look, *packages], capture_output=True, text=True, check=True
    ).stdout.strip()


def node(name: str, *packages: str) -> Path:
    """The directory of an environment that has the newest of these packages, or those that it has already."""
    place = PLACE / name
    if not all((place / "node_modules" / package).exists() for package in packages):
        print(f"installing {', '.join(packages)} into {place.relative_to(ROOT)}", flush=True)
        place.mkdir(parents=True, exist_ok=True)
        command = [str(BIN / "npm"), "install", "--prefix", str(place), "--loglevel=error", *packages]
        _install(command)
    return place


def node_versions(place: Path, packages: Sequence[str]) -> str:
    """What the environment has of these packages."""
    manifests = [(package, place / "node_modules" / package / "package.json") for package in packages]
    return ", ".join(f"{package} {json.loads(manifest.read_text())['version']}" for package, manifest in manifests)


def _install(command: Sequence[str]) -> None:
    # npm finds the node that comes with .venv.
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise NotInstalled(done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}")
