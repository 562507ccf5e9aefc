"""Redocly's lint has nothing to say about the API's description."""

import json
import os
import subprocess
from pathlib import Path

from core.runtime import Runtime
from core.settings import Settings
from tests.clients.node import NODE, require_packages
from web.app import create_app
from web.openapi.document import describe

LINT = Path(__file__).parents[2] / "clients/redocly"


def test_redocly_finds_no_error_and_no_warning(tmp_path: Path) -> None:
    require_packages(LINT)
    issuer = {"oidc_issuer": "https://login.example", "oidc_client_id": "switchboard"}
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(describe(create_app(Runtime(Settings(_env_file=None).model_copy(update=issuer))))))
    command: list[str | Path] = [NODE, LINT / "node_modules/.bin/redocly", "lint", "--format=json", document]
    environment = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    run = subprocess.run(command, cwd=LINT, env=environment, capture_output=True, text=True, timeout=120)
    found = json.loads(run.stdout)
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}, found["problems"]
