"""Bearer tokens, good and hostile, against a real issuer."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from core.auth import issuer as issuers
from core.auth.issuer import (
    FETCH_RETRY_INTERVAL,
    KEYS_REFRESH_INTERVAL,
    KEYS_TTL,
    UNKNOWN_KEY_COOLDOWN,
    IssuerFault,
)
from core.auth.oidc import LEEWAY, Tokens
from core.errors import TokenInvalid, Unavailable
from tests.support.issuer import AUDIENCE, Issuer

SETTING = "SWITCHBOARD_OIDC_AUDIENCE"


class Stopwatch:
    """A monotonic clock in the test's hands."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    yield server
    server.stop()


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def tokens(issuer: Issuer, watch: Stopwatch) -> Tokens:
    return Tokens(issuers.Issuer(issuer.url, monotonic=watch), AUDIENCE, SETTING)


@pytest.mark.parametrize("key_id", ["rsa", "ec", "ed"])
@pytest.mark.parametrize("kind", ["at+jwt", "JWT", "application/at+jwt"])
def test_a_good_token_names_its_subject(issuer: Issuer, tokens: Tokens, key_id: str, kind: str) -> None:
    expires = int(time.time()) + 60
    subject = tokens.verify(issuer.token(key_id, headers={"typ": kind}, exp=expires))
    assert (subject.issuer, subject.subject) == (issuer.url, issuer.subject)
    assert subject.expires_at == datetime.fromtimestamp(expires + LEEWAY, UTC)


def test_one_of_several_audiences_is_enough(issuer: Issuer, tokens: Tokens) -> None:
    tokens.verify(issuer.token(aud=["https://other.example", AUDIENCE]))


def test_clocks_may_differ_a_little(issuer: Issuer, tokens: Tokens) -> None:
    now = int(time.time())
    tokens.verify(issuer.token(iat=now + LEEWAY - 10, nbf=now + LEEWAY - 10, exp=now - LEEWAY + 10))


NOW = int(time.time())


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "https://other.example"},
        {"aud": []},
        {"aud": None},
        {"exp": NOW - 3600},
        {"exp": None},
        {"exp": "tomorrow"},
        {"nbf": NOW + 3600},
        {"iat": NOW + 3600},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "nul\0"},
        {"sub": "ümlaut"},
    ],
    ids=lambda claims: next(iter(claims)),
)
def test_a_token_with_wrong_claims_is_refused(issuer: Issuer, tokens: Tokens, claims: dict[str, Any]) -> None:
    payload = {**issuer.claims(), **claims}
    algorithm, key = issuer.private_keys["rsa"]
    body = {name: value for name, value in payload.items() if value is not None}
    # jwt.encode insists on some claims' types; the wire does not.
    signed = jwt.api_jws.PyJWS().encode(
        json.dumps(body).encode(), key, algorithm=algorithm, headers={"kid": "rsa", "typ": "at+jwt"}
    )
    with pytest.raises(TokenInvalid):
        tokens.verify(signed)


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "", None, 7])
def test_a_token_of_another_type_is_refused(issuer: Issuer, tokens: Tokens, kind: Any) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(_put_together({"alg": "RS256", "kid": "rsa", "typ": kind}, issuer))


def _encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _put_together(header: dict[str, Any], issuer: Issuer, signature: str | None = None) -> str:
    """A token with any header at all, signed with the issuer's RSA key unless a signature is given."""
    said = {name: value for name, value in header.items() if value is not None}
    signed = f"{_encoded(said)}.{_encoded(issuer.claims())}"
    if signature is None:
        key = RSAAlgorithm(RSAAlgorithm.SHA256)
        raw = key.sign(signed.encode(), issuer.private_keys["rsa"][1])
        signature = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return f"{signed}.{signature}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", None, 7, ["RS256"]])
def test_no_algorithm_but_the_asymmetric_ones_counts(issuer: Issuer, tokens: Tokens, algorithm: Any) -> None:
    header = {"alg": algorithm, "kid": "rsa", "typ": "at+jwt"}
    for signature in ("", None):
        with pytest.raises(TokenInvalid):
            tokens.verify(_put_together(header, issuer, signature))


def test_the_public_key_is_no_shared_secret(issuer: Issuer, tokens: Tokens) -> None:
    import hashlib
    import hmac

    public = issuer.private_keys["rsa"][1].public_key()
    spellings = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(issuer.public_keys()["keys"][0]).encode(),
    ]
    for algorithm in ("HS256", "RS256"):
        for secret in spellings:
            signed = f"{_encoded({'alg': algorithm, 'kid': 'rsa', 'typ': 'at+jwt'})}.{_encoded(issuer.claims())}"
            raw = hmac.digest(secret, signed.encode(), hashlib.sha256)
            with pytest.raises(TokenInvalid):
                tokens.verify(f"{signed}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}")


def test_keys_that_a_token_brings_along_are_not_used(issuer: Issuer, tokens: Tokens) -> None:
    mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    own = {**RSAAlgorithm.to_jwk(mine.public_key(), as_dict=True), "kid": "rsa"}
    elsewhere = "http://127.0.0.1:1/keys"
    for brought in ({"jwk": own}, {"jku": elsewhere}, {"x5u": elsewhere}, {"x5c": ["MIIB"]}):
        token = jwt.encode(
            issuer.claims(), mine, algorithm="RS256", headers={"kid": "rsa", "typ": "at+jwt", **brought}
        )
        with pytest.raises(TokenInvalid):
            tokens.verify(token)


def test_a_key_of_another_kind_than_the_algorithm_is_refused(issuer: Issuer, tokens: Tokens) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(issuer.token("ec", headers={"kid": "rsa"}))
    with pytest.raises(TokenInvalid):
        tokens.verify(issuer.token("rsa", headers={"kid": "ec"}))


def test_what_is_critical_and_not_understood_is_refused(issuer: Issuer, tokens: Tokens) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(issuer.token(headers={"crit": ["of"], "of": 1}))


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "...", "é.é.é", "x" * 100_000, "e30.e30.", "bnVsbA.e30.x"])
def test_what_is_no_token_is_refused(tokens: Tokens, issuer: Issuer, token: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(token)
    assert issuer.fetches == 0


def test_a_changed_token_is_refused(issuer: Issuer, tokens: Tokens) -> None:
    header, _, signature = issuer.token().split(".")
    with pytest.raises(TokenInvalid):
        tokens.verify(f"{header}.{_encoded(issuer.claims(sub='somebody else'))}.{signature}")


def test_a_thousand_unknown_keys_cause_one_fetch_in_a_cool_down(
    issuer: Issuer, tokens: Tokens, watch: Stopwatch
) -> None:
    forged = [_put_together({"alg": "RS256", "kid": f"k{n}", "typ": "at+jwt"}, issuer) for n in range(1000)]
    for token in forged:
        with pytest.raises(TokenInvalid):
            tokens.verify(token)
    assert issuer.fetches == 1
    watch.seconds += UNKNOWN_KEY_COOLDOWN
    for token in forged:
        with pytest.raises(TokenInvalid):
            tokens.verify(token)
    assert issuer.fetches == 2


def test_a_new_key_is_found_after_the_cool_down(issuer: Issuer, tokens: Tokens, watch: Stopwatch) -> None:
    tokens.verify(issuer.token())
    issuer.rotate("new")
    watch.seconds += UNKNOWN_KEY_COOLDOWN
    tokens.verify(issuer.token("new"))


def test_a_withdrawn_key_is_forgotten(issuer: Issuer, tokens: Tokens, watch: Stopwatch) -> None:
    old = issuer.token()
    tokens.verify(old)
    issuer.rotate("new")
    watch.seconds += KEYS_REFRESH_INTERVAL + 1
    with pytest.raises(TokenInvalid):
        tokens.verify(old)


def test_keys_outlive_an_outage_of_the_issuer_but_not_for_ever(
    issuer: Issuer, tokens: Tokens, watch: Stopwatch
) -> None:
    token = issuer.token()
    tokens.verify(token)
    issuer.down = True
    watch.seconds += KEYS_REFRESH_INTERVAL + 1
    tokens.verify(token)
    watch.seconds += KEYS_TTL
    with pytest.raises(Unavailable):
        tokens.verify(token)


def test_while_no_keys_are_known_the_answer_is_to_come_back(issuer: Issuer, watch: Stopwatch) -> None:
    issuer.down = True
    tokens = Tokens(issuers.Issuer(issuer.url, f"{issuer.url}/keys", monotonic=watch), AUDIENCE, SETTING)
    for _ in range(100):
        with pytest.raises(Unavailable):
            tokens.verify(issuer.token())
    issuer.down = False
    with pytest.raises(Unavailable):
        tokens.verify(issuer.token())
    watch.seconds += FETCH_RETRY_INTERVAL
    tokens.verify(issuer.token())
    assert issuer.fetches == 1


def test_an_issuer_that_is_not_there_is_not_waited_for(watch: Stopwatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    tokens = Tokens(issuers.Issuer(nowhere, monotonic=watch), AUDIENCE, SETTING)
    other = Issuer()
    with pytest.raises(Unavailable):
        tokens.verify(other.token())
    other.stop()


def test_metadata_of_another_issuer_is_not_believed(issuer: Issuer, watch: Stopwatch) -> None:
    tokens = Tokens(issuers.Issuer(issuer.url + "/", monotonic=watch), AUDIENCE, SETTING)
    with pytest.raises(Unavailable):
        tokens.verify(issuer.token(iss=issuer.url + "/"))
    assert issuer.fetches == 0


def test_an_id_token_must_repeat_the_nonce(issuer: Issuer, tokens: Tokens) -> None:
    token = issuer.token(headers={"typ": None}, nonce="n-0S6_WzA2Mj")
    assert tokens.verify_id_token(token, "n-0S6_WzA2Mj").subject == issuer.subject
    for nonce in ("", "another"):
        with pytest.raises(TokenInvalid):
            tokens.verify_id_token(token, nonce)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:nonsense", "socks5://127.0.0.1:1", "http://[", "nonsense"])
def test_a_proxy_that_is_none_is_an_issuer_that_is_away(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    for scheme in ("http", "https"):
        with pytest.raises(IssuerFault):
            issuers.Issuer(f"{scheme}://issuer.example").endpoint("token_endpoint")


def test_a_proxy_that_speaks_nonsense_is_an_issuer_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(b"nonsense\r\n\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(IssuerFault):
            issuers.Issuer("http://issuer.example").endpoint("token_endpoint")
