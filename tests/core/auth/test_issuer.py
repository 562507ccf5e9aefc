"""A provider that is not what the settings say: the operator is told in one line, and it is asked again."""

from collections.abc import Iterator
from typing import Any

import pytest

from core.auth import issuer as issuers
from core.auth.issuer import FETCH_RETRY_INTERVAL, IssuerFault
from core.auth.oidc import Tokens
from core.errors import TokenInvalid, Unavailable
from tests.core.auth.test_oidc import Stopwatch
from tests.support.issuer import AUDIENCE, Issuer, answer_with

METADATA = "/.well-known/openid-configuration"
AUDIENCE_SETTING = "SWITCHBOARD_OIDC_AUDIENCE"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    yield server
    server.stop()


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the provider's part says. Threads of other tests may tell of a store that has gone with theirs."""
    records = [record for record in caplog.records if record.name.startswith("core.auth")]
    return [record.getMessage() for record in records if record.levelname == "WARNING"]


def _line(issuer: Issuer, wrong: str, right: str) -> str:
    return f"SWITCHBOARD_OIDC_ISSUER={issuer.url}: {wrong}; {right}"


SEE = "see whether the address is that of an OpenID Connect provider"
CORRECT = "correct the address, or what answers there"
START = "start it, or see what keeps this machine from it"


@pytest.mark.parametrize(
    ("said", "wrong", "right"),
    [
        (
            {"issuer": "https://login.example/"},
            "its metadata names another issuer, https://login.example/",
            "if that is the one, set SWITCHBOARD_OIDC_ISSUER to exactly that",
        ),
        (
            {"issuer": "https://a:hunter2@login.example\n; nonsense"},
            "its metadata names another issuer, https://***@login.example , nonsense",
            "if that is the one, set SWITCHBOARD_OIDC_ISSUER to exactly that",
        ),
        ({"issuer": None}, "its metadata names no issuer", SEE),
        ({"issuer": ["x"]}, "its metadata names no issuer", SEE),
        ({"token_endpoint": None}, "its metadata has no token_endpoint", SEE),
        ({"token_endpoint": 7}, "its metadata names no http(s) address as token_endpoint", SEE),
        ({"token_endpoint": "file:///a"}, "its metadata names no http(s) address as token_endpoint", SEE),
        ({"token_endpoint": "javascript:a()"}, "its metadata names no http(s) address as token_endpoint", SEE),
        ({"token_endpoint": "/token"}, "its metadata names no http(s) address as token_endpoint", SEE),
        ({"token_endpoint": "http://["}, "its metadata names no http(s) address as token_endpoint", SEE),
    ],
)
def test_wrong_metadata_are_told_and_not_kept(
    issuer: Issuer,
    watch: Stopwatch,
    caplog: pytest.LogCaptureFixture,
    said: dict[str, Any],
    wrong: str,
    right: str,
) -> None:
    issuer.said = said
    asked = issuers.Issuer(issuer.url, monotonic=watch)
    for _ in range(10):
        with pytest.raises(IssuerFault) as raised:
            asked.endpoint("token_endpoint")
        assert "tell the operator" in raised.value.for_people().detail
    assert _warnings(caplog) == [_line(issuer, wrong, right)]
    issuer.said = {}
    watch.seconds += FETCH_RETRY_INTERVAL
    assert asked.endpoint("token_endpoint") == f"{issuer.url}/token"


@pytest.mark.parametrize(
    ("status", "body", "wrong", "right"),
    [
        (302, b"", "the address of its metadata answers with 302, a redirect, which is not followed", CORRECT),
        (404, b"", "the address of its metadata answers with 404", CORRECT),
        (200, b"<p>", "the address of its metadata answers with something that is no JSON object", CORRECT),
        (500, b"", "the address of its metadata answers with 500", START),
    ],
)
def test_what_is_no_metadata_is_told(
    issuer: Issuer, caplog: pytest.LogCaptureFixture, status: int, body: bytes, wrong: str, right: str
) -> None:
    issuer.instead[METADATA] = answer_with(status, body)
    with pytest.raises(IssuerFault) as raised:
        issuers.Issuer(issuer.url).endpoint("token_endpoint")
    assert ("is away" in raised.value.for_people().detail) == (right == START)
    assert _warnings(caplog) == [_line(issuer, wrong, right)]


def test_nobody_there_is_told(caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer()
    issuer.stop()
    with pytest.raises(IssuerFault):
        issuers.Issuer(issuer.url).endpoint("token_endpoint")
    wrong = "the address of its metadata can't be reached: Connection refused"
    assert _warnings(caplog) == [_line(issuer, wrong, START)]


@pytest.mark.parametrize(
    "keys", [b'{"keys": []}', b'{"keys": 7}', b'{"keys": [7]}', b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', b"{}"]
)
def test_keys_that_are_none_are_told(
    issuer: Issuer, watch: Stopwatch, caplog: pytest.LogCaptureFixture, keys: bytes
) -> None:
    issuer.instead["/keys"] = answer_with(200, keys)
    tokens = Tokens(issuers.Issuer(issuer.url, monotonic=watch), AUDIENCE, AUDIENCE_SETTING)
    for _ in range(10):
        with pytest.raises(Unavailable, match="tell the operator"):
            tokens.verify(issuer.token())
    (line,) = _warnings(caplog)
    assert line.startswith(_line(issuer, "there is no key to check signatures with", "have it publish one"))
    del issuer.instead["/keys"]
    watch.seconds += FETCH_RETRY_INTERVAL
    tokens.verify(issuer.token())


def test_keys_that_are_elsewhere_are_told_by_their_setting(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = f"{issuer.url}/jwks.json?key=hunter2"
    with pytest.raises(Unavailable, match="tell the operator"):
        Tokens(issuers.Issuer(issuer.url, elsewhere), AUDIENCE, AUDIENCE_SETTING).verify(issuer.token())
    setting = f"SWITCHBOARD_OIDC_JWKS_URL={issuer.url}/jwks.json?key=***"
    assert _warnings(caplog) == [f"{setting}: the address of its keys answers with 404; {CORRECT}"]


def test_wrong_metadata_are_told_once_also_to_those_who_want_keys(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.said = {"jwks_uri": None}
    with pytest.raises(Unavailable, match="tell the operator"):
        Tokens(issuers.Issuer(issuer.url), AUDIENCE, AUDIENCE_SETTING).verify(issuer.token())
    assert _warnings(caplog) == [_line(issuer, "its metadata has no jwks_uri", SEE)]


def test_bearer_tokens_that_the_issuer_signed_for_others_are_told_of_once_a_minute(
    issuer: Issuer, watch: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = Tokens(issuers.Issuer(issuer.url), AUDIENCE, AUDIENCE_SETTING, monotonic=watch)
    bad = [issuer.token(aud="https://other.example") for _ in range(5)]
    # What anybody can make, and what all do in the end.
    header, payload, _ = issuer.token(aud="https://other.example").split(".")
    bad += [f"{header}.{payload}.AAAA", issuer.token(exp=1), issuer.token(headers={"kid": "unknown"}), "nonsense"]
    for _ in range(2):
        for token in bad:
            with pytest.raises(TokenInvalid):
                tokens.verify(token)
        watch.seconds += 59
    line = _line(issuer, "its audience (aud) is another", f"set {AUDIENCE_SETTING} to what it names")
    assert _warnings(caplog) == [f"an access token is refused: {line}"]
    watch.seconds += 1
    with pytest.raises(TokenInvalid):
        tokens.verify(bad[0])
    assert len(_warnings(caplog)) == 2
