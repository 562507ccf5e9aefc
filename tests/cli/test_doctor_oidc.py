"""`switchboard doctor` about the identity provider."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_commands import switchboard
from tests.support.issuer import AUDIENCE, CLIENT_ID, Issuer, answer_with, drip

NAME = "SWITCHBOARD_OIDC_ISSUER"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    yield server
    server.stop()


def _told(tmp_path: Path, **environment: str) -> str:
    """The lines about it."""
    result = switchboard(tmp_path, "doctor", **environment)
    assert "Traceback" not in result.stdout + result.stderr
    assert "OIDC" not in result.stderr
    before, mark, after = result.stdout.partition(" oidc ")
    return before[-1] + mark + after.partition("\n✗ web ")[0] if mark else ""


def test_without_one_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert _told(tmp_path) == ""


def test_one_that_is_well(tmp_path: Path, issuer: Issuer) -> None:
    well = f"✓ oidc       {issuer.url} is the issuer by its own word, with 3 usable keys"
    names = {NAME: issuer.url, "SWITCHBOARD_OIDC_AUDIENCE": AUDIENCE}
    assert _told(tmp_path, **names) == well
    assert _told(tmp_path, **names, SWITCHBOARD_OIDC_CLIENT_ID=CLIENT_ID) == well
    nobody = _told(tmp_path, **{NAME: issuer.url}).removeprefix(f"{well}\n").splitlines()
    assert nobody == [
        "! oidc       nobody can log in with it",
        "             Set SWITCHBOARD_OIDC_AUDIENCE for bearer tokens, SWITCHBOARD_OIDC_CLIENT_ID for browsers.",
    ]


def test_one_of_another_name(tmp_path: Path, issuer: Issuer) -> None:
    assert _told(tmp_path, **{NAME: f"{issuer.url}/"}).splitlines() == [
        f"✗ oidc       {NAME}={issuer.url}/: its metadata names another issuer, {issuer.url}",
        f"             If that is the one, set {NAME} to exactly that",
    ]


def test_one_without_what_browsers_need(tmp_path: Path, issuer: Issuer) -> None:
    issuer.said = {"token_endpoint": None}
    names = {NAME: issuer.url, "SWITCHBOARD_OIDC_AUDIENCE": AUDIENCE}
    assert _told(tmp_path, **names).startswith("✓ oidc ")
    told = _told(tmp_path, **names, SWITCHBOARD_OIDC_CLIENT_ID=CLIENT_ID)
    assert told.startswith(f"✗ oidc       {NAME}={issuer.url}: its metadata has no token_endpoint\n")


def test_one_without_keys_or_that_drips(tmp_path: Path, issuer: Issuer) -> None:
    issuer.instead["/keys"] = answer_with(200, b'{"keys": []}')
    told = _told(tmp_path, **{NAME: issuer.url})
    assert told.startswith(f"✗ oidc       {NAME}={issuer.url}: there is no key to check signatures with\n")
    issuer.instead["/keys"] = drip
    told = _told(tmp_path, **{NAME: issuer.url})
    assert told.startswith(
        f"✗ oidc       {NAME}={issuer.url}: the address of its keys gives no whole answer within 3 s\n"
    )
    elsewhere = {"SWITCHBOARD_OIDC_JWKS_URL": f"{issuer.url}/jwks"}
    told = _told(tmp_path, **{NAME: issuer.url}, **elsewhere)
    assert told.startswith(
        f"✗ oidc       SWITCHBOARD_OIDC_JWKS_URL={issuer.url}/jwks: the address of its keys answers with 404\n"
    )
