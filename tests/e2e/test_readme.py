"""Everything that the README says to paste into a shell can be pasted, against the system that `make up` starts."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.system import ROOT, System

OPEN_STREAM = "curl: (28)"
"""What curl says when its time is over: the stream of a session stays open, a person ends it by Ctrl-C."""


def _commands() -> str:
    """The README's commands that speak to the server, in order."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return next(block for block in blocks if "curl" in block)


@pytest.mark.skipif(shutil.which("curl") is None, reason="Debian's curl is missing: apt-get install curl")
def test_the_readmes_requests_can_be_pasted(system: System, tmp_path: Path) -> None:
    script = _commands().replace("http://127.0.0.1:8000", system.base_url)
    assert script.count("curl ") == 7
    # What a person does after reading the replayed events.
    script = script.replace("curl -N -b jar", "curl --max-time 3 -N -b jar")
    done = subprocess.run(
        ["sh"],
        input=script.replace("curl ", "curl -sS -f "),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert [line for line in done.stderr.splitlines() if not line.startswith(OPEN_STREAM)] == []
    streamed, rest = re.split(r'^(?={"session_id")', done.stdout, maxsplit=1, flags=re.MULTILINE)
    assert "event:done" in streamed.replace("event: ", "event:")
    assert '"model":"smollm2-precise"' in rest.replace('": "', '":"')
    resumed = rest.replace("event: ", "event:")
    assert "event:delta" in resumed
    assert "event:started" not in resumed, "the first two events were not wanted"
