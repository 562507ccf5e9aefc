"""Tokens of an OpenID Connect issuer: are they its, are they for us, and whose are they.

What a token says of how to check it (jwk, jku, x5u, x5c) is never followed: the keys come from the configured
issuer alone, and only asymmetric algorithms count (RFC 8725, 3.1 and 3.10).
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import jwt
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import (
    InvalidAlgorithmError,
    InvalidKeyError,
    InvalidTokenError,
    MissingRequiredClaimError,
    PyJWTError,
)

from core.auth.issuer_http import IssuerError, fetch_json
from core.errors import TokenInvalid, Unavailable
from core.text.characters import one_line

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
TOKEN_TYPES = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
"""What `typ` may be (RFC 9068, 2.1): others, such as logout+jwt, are issued for something else."""
LEEWAY = 30
"""Seconds by which the issuer's clock and ours may differ."""
MAX_TOKEN_LENGTH = 8192
"""Characters of a token that are looked at."""
MAX_SHOWN = 255
"""Characters of what the issuer says that are repeated in logs."""
MAX_SUBJECT_LENGTH = 255
"""Characters (OpenID Connect Core 1.0, 2: at most 255, ASCII)."""

UNKNOWN_KEY_COOLDOWN = 60.0
"""Seconds after a fetch of the keys in which no key, however unknown, causes another."""
FETCH_RETRY_INTERVAL = 5.0
"""Seconds after a fetch that failed in which there is no other."""
KEYS_REFRESH_INTERVAL = 300.0
"""Seconds after which keys are fetched anew, so that one the issuer withdrew is forgotten."""
KEYS_TTL = 3600.0
"""Seconds that keys are still believed when the issuer can't be reached."""


class OtherNonce(InvalidTokenError):
    """The ID token answers another login."""


class OtherClient(InvalidTokenError):
    """The ID token was made for another client."""


@dataclass(frozen=True)
class Subject:
    """The user that a token is about, as the issuer names them."""

    issuer: str
    subject: str
    expires_at: datetime


class Issuer:
    """The identity provider: its public keys, fetched seldom and kept, and what else its metadata say."""

    def __init__(
        self, url: str, jwks_url: str | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self._jwks_url = jwks_url
        self._monotonic = monotonic
        self._lock = Lock()
        self._keys: Mapping[str, PyJWK] = {}
        self._fetched_at = 0.0
        self._not_before = float("-inf")
        self._metadata: tuple[Mapping[str, Any], float] = {}, float("-inf")

    def metadata(self) -> Mapping[str, Any]:
        """What the issuer says of itself (OpenID Connect Discovery 1.0, 4), kept for a while.

        Raises IssuerError when it says nothing, or speaks for another.
        """
        known, until = self._metadata
        if self._monotonic() < until:
            return known
        metadata = fetch_json(f"{self.url.rstrip('/')}/.well-known/openid-configuration")
        if (named := metadata.get("issuer")) != self.url:
            named = one_line(str(named))[:MAX_SHOWN]
            raise IssuerError(f"its metadata names the issuer {named}, and SWITCHBOARD_OIDC_ISSUER is {self.url}")
        self._metadata = metadata, self._monotonic() + KEYS_REFRESH_INTERVAL
        return metadata

    def endpoint(self, name: str) -> str:
        """One of its addresses, by its name in the metadata. Raises IssuerError as `metadata` does, or when it is not
        there; then they are not kept, for they may be mended."""
        address = self.metadata().get(name)
        if not isinstance(address, str) or not address.startswith(("https://", "http://")):
            self._metadata = {}, float("-inf")
            raise IssuerError(f"its metadata has no {name}")
        return address

    def fetch_keys(self) -> Mapping[str, PyJWK]:
        """Its keys that may sign, by id. Raises PyJWTError."""
        fetched = fetch_json(self._jwks_url or self.endpoint("jwks_uri"))
        return {
            key.key_id: key
            for key in PyJWKSet.from_dict(fetched).keys
            if key.key_id and key.public_key_use in ("sig", None) and key.algorithm_name in ALGORITHMS
        }

    def key(self, key_id: str) -> PyJWK:
        """The key of this id. Raises TokenInvalid, or Unavailable when no keys are known at all."""
        known = key_id in self._keys
        # Only one thread fetches, and one that has its key already does not wait for it.
        if (not known or self._age() > KEYS_REFRESH_INTERVAL) and self._lock.acquire(blocking=not known):
            try:
                if key_id not in self._keys or self._age() > KEYS_REFRESH_INTERVAL:
                    self._fetch()
            finally:
                self._lock.release()
        if not self._keys:
            raise Unavailable(
                "The identity provider is away; try again in a moment.", retry_after=int(FETCH_RETRY_INTERVAL)
            )
        key = self._keys.get(key_id)
        if key is None:
            raise TokenInvalid from InvalidKeyError()
        return key

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    def _fetch(self) -> None:
        if self._monotonic() < self._not_before:
            return
        try:
            self._keys = self.fetch_keys()
            self._fetched_at = self._monotonic()
            self._not_before = self._fetched_at + UNKNOWN_KEY_COOLDOWN
        except PyJWTError as error:
            logger.warning("the keys of the OIDC issuer can't be fetched: %s", one_line(str(error)))
            self._not_before = self._monotonic() + FETCH_RETRY_INTERVAL
            if self._age() > KEYS_TTL:
                self._keys = {}


class Tokens:
    """Verifies the tokens that the issuer makes for one audience."""

    def __init__(self, issuer: Issuer, audience: str) -> None:
        self._issuer = issuer
        self._audience = audience

    def verify(self, token: str) -> Subject:
        """Whom the token speaks of. Raises TokenInvalid, or Unavailable while the issuer's keys are unknown."""
        header = _header(token)
        if str(header.get("typ", "")).lower() not in TOKEN_TYPES:
            raise TokenInvalid
        return self._subject(self._claims(token, header))

    def verify_id_token(self, token: str, nonce: str) -> Subject:
        """The subject of the ID token that answers one browser's login, which must repeat its nonce.

        It comes from the issuer itself, whose ID tokens need not say their type.
        """
        claims = self._claims(token, _header(token))
        if claims.get("nonce") != nonce:
            raise TokenInvalid from OtherNonce()
        # One for several says which of them it was made for (OpenID Connect Core 1.0, 3.1.3.7, 4 and 5).
        if claims.get("azp", self._audience) != self._audience:
            raise TokenInvalid from OtherClient()
        return self._subject(claims)

    def _claims(self, token: str, header: Mapping[str, Any]) -> dict[str, Any]:
        key_id = header.get("kid")
        # Checked before the keys are looked at: a token that can't be good causes no fetch.
        if header.get("alg") not in ALGORITHMS:
            raise TokenInvalid from InvalidAlgorithmError()
        if not isinstance(key_id, str):
            raise TokenInvalid from MissingRequiredClaimError("kid")
        try:
            return jwt.decode(
                token,
                self._issuer.key(key_id),
                algorithms=ALGORITHMS,
                issuer=self._issuer.url,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise TokenInvalid from error

    def _subject(self, claims: Mapping[str, Any]) -> Subject:
        subject = claims["sub"]
        if not (0 < len(subject) <= MAX_SUBJECT_LENGTH and subject.isascii() and subject.isprintable()):
            raise TokenInvalid
        try:
            expires_at = datetime.fromtimestamp(int(claims["exp"]) + LEEWAY, UTC)
        except (ValueError, OverflowError, OSError):
            expires_at = datetime.max.replace(tzinfo=UTC)
        return Subject(self._issuer.url, subject, expires_at)


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenInvalid
    try:
        return jwt.get_unverified_header(token)
    except (PyJWTError, ValueError) as error:
        raise TokenInvalid from error
