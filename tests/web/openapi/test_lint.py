"""Redocly's lint has nothing to say about the API's description."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from core.runtime import Runtime
from core.settings import Settings
from tests.clients.node import NODE, require_packages
from web.app import create_app
from web.openapi.document import describe

LINT = Path(__file__).parents[2] / "clients/redocly"


OIDC = {"oidc_issuer": "https://login.example", "oidc_client_id": "switchboard"}
REDIRECTS = "--skip-rule=operation-2xx-response"
"""For the two operations of the login with OIDC, which answer with a redirect and nothing else."""


@pytest.mark.parametrize(("configured", "options"), [({}, []), (OIDC, [REDIRECTS])], ids=["as-it-is", "with-oidc"])
def test_redocly_finds_no_error_and_no_warning(
    tmp_path: Path, configured: dict[str, str], options: list[str]
) -> None:
    require_packages(LINT)
    settings = Settings(_env_file=None).model_copy(update=configured)
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(describe(create_app(Runtime(settings)))))
    command = [str(NODE), str(LINT / "node_modules/.bin/redocly"), "lint", "--format=json", *options, str(document)]
    environment = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    run = subprocess.run(command, cwd=LINT, env=environment, capture_output=True, text=True, timeout=120)
    found = json.loads(run.stdout)
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}, found["problems"]
