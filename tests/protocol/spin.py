"""Has the model checked by spin: every order of every step that its processes can take."""

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

MODEL = Path(__file__).with_name("switchboard.pml")
MISSING = "spin or gcc is missing: apt-get install spin gcc libc6-dev"
DEADLINE = 100
"""Seconds for one roster; it takes a few."""
DEPTH = 20_000
"""Steps of the longest run that is followed; one that is longer is an error."""
LOG2_OF_TABLE = 22
"""Entries of the table of states seen, as a power of two."""


@dataclass(frozen=True)
class Verdict:
    """What spin has found."""

    broken: str | None
    """The promise that does not hold, or None."""
    states: int
    unreached: dict[str, set[tuple[int, str]]] = field(repr=False)
    """By process, the line and the text of each step that no run takes."""


def is_missing() -> bool:
    """Whether the Debian packages are not there."""
    return shutil.which("spin") is None or shutil.which("gcc") is None


def check(directory: Path, *defines: str) -> Verdict:
    """Check the model with these macros defined, exhaustively; stops at the first promise that is broken."""
    options = [f"-D{each}" for each in defines]
    _run(directory, "spin", "-a", *options, str(MODEL))
    # Not optimised: gcc would take longer than the search.
    _run(directory, "gcc", "-w", "-DSAFETY", "-DNOFAIR", "-DCOLLAPSE", "-o", "pan", "pan.c")
    report = _run(directory, "./pan", f"-m{DEPTH}", f"-w{LOG2_OF_TABLE}")
    broken = re.search(r"assertion violated (\w+)", report)
    if broken is None and ("errors: 0" not in report or "Search not completed" in report or "max search" in report):
        raise AssertionError(report)
    states = re.search(r"(\d+) states, stored", report)
    assert states is not None, report
    return Verdict(broken and broken[1], int(states[1]), _unreached(report))


def _run(directory: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _unreached(report: str) -> dict[str, set[tuple[int, str]]]:
    """Of pan's report: a heading for each process, and below it each step that was never taken."""
    steps: dict[str, set[tuple[int, str]]] = {}
    process = ""
    for line in report.splitlines():
        if heading := re.match(r"unreached in proctype (\w+)", line):
            process = heading[1]
            steps[process] = set()
        elif step := re.match(r'\s+\S+\.pml:(\d+), state \d+, "(.*)"', line):
            steps.setdefault(process, set()).add((int(step[1]), step[2]))
    return steps
