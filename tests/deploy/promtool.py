"""Prometheus' own tool, of Debian's package `prometheus`, and what is deployed for it."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "switchboard.rules.yml"
CONFIGURATION = ROOT / "deploy" / "prometheus" / "prometheus.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
MISSING = "promtool is missing: apt-get install prometheus"


@cache
def rules() -> list[dict[str, Any]]:
    """The rules of all groups."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Those that are alerts."""
    return [rule for rule in rules() if "alert" in rule]


def expressions() -> list[str]:
    """All that rules and panels ask."""
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    panels = [panel for board in boards for panel in board["panels"]]
    return [rule["expr"] for rule in rules()] + [
        each["expr"] for panel in panels for each in panel.get("targets", ())
    ]


def promtool(*arguments: str, given: str = "") -> str:
    """Run it; what it has said. Fails the test when it finds fault."""
    binary = shutil.which("promtool")
    if binary is None:
        pytest.skip(MISSING)
    ran = subprocess.run([binary, *arguments], input=given, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr
