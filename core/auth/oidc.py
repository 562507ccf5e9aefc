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
from jwt import exceptions
from jwt.exceptions import PyJWTError

from core.auth.issuer import ALGORITHMS, ISSUER, Issuer, IssuerFault
from core.errors import TokenInvalid
from core.operations.preflight.mistake import Mistake

logger = logging.getLogger(__name__)

TOKEN_TYPES = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
"""What `typ` may be (RFC 9068, 2.1): others, such as logout+jwt, are issued for something else."""
LEEWAY = 30
"""Seconds by which the issuer's clock and ours may differ."""
MAX_TOKEN_LENGTH = 8192
"""Characters of a token that are looked at."""
MAX_SUBJECT_LENGTH = 255
"""Characters (OpenID Connect Core 1.0, 2: at most 255, ASCII)."""
COMPLAINT_INTERVAL = 60.0
"""Seconds in which one process says the same of bearer tokens once."""
REQUIRED = ("exp", "iat", "iss", "aud", "sub")


@dataclass(frozen=True)
class Subject:
    """The user that a token is about, as the issuer names them."""

    issuer: str
    subject: str
    expires_at: datetime


class TokenRefused(TokenInvalid):
    """A token that is refused, and for operators why. `signed` is whether the issuer did sign it: anybody can send
    others."""

    def __init__(self, mistake: Mistake, *, signed: bool) -> None:
        super().__init__()
        self.mistake = mistake
        self.signed = signed


class Tokens:
    """Verifies the tokens that the issuer makes for one audience."""

    def __init__(
        self, issuer: Issuer, audience: str, setting: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`setting`: the one that names the audience."""
        self._issuer = issuer
        self._audience = audience
        self._setting = setting
        self._monotonic = monotonic
        self._lock = Lock()
        self._told: dict[Mistake, float] = {}

    def verify(self, token: str) -> Subject:
        """Whom the token speaks of. Raises TokenInvalid, or Unavailable while the issuer's keys are unknown.

        What is wrong with one that the issuer did sign is the operator's to know, and is logged.
        """
        header = _header(token)
        if str(header.get("typ", "")).lower() not in TOKEN_TYPES:
            raise TokenInvalid
        try:
            return self._subject(self._claims(token, header))
        except IssuerFault as fault:
            raise fault.for_people() from None
        except TokenRefused as refused:
            if refused.signed and self._is_news(refused.mistake):
                logger.warning("an access token is refused: %s", refused.mistake)
            raise

    def verify_id_token(self, token: str, nonce: str) -> Subject:
        """The subject of the ID token that answers one browser's login, which must repeat its nonce.

        It comes from the issuer itself, whose ID tokens need not say their type. Raises TokenRefused or IssuerFault.
        """
        try:
            claims = self._claims(token, _header(token))
        except TokenRefused:
            raise
        except TokenInvalid:
            raise self._refused("it names no key of the issuer's, or is no token at all", _KEYS) from None
        if claims.get("nonce") != nonce:
            raise self._refused("it does not repeat the login's nonce", "see what the provider does with it")
        # OpenID Connect Core 1.0, 3.1.3.7, 4 and 5.
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else self._audience) != self._audience:
            raise self._refused("it was made for another client (azp)", f"correct {self._setting}")
        return self._subject(claims)

    def _claims(self, token: str, header: Mapping[str, Any]) -> dict[str, Any]:
        key_id = header.get("kid")
        # Checked before the keys are looked at: a token that can't be good causes no fetch.
        if header.get("alg") not in ALGORITHMS:
            right = "have the provider sign with RS256, or another of the asymmetric ones"
            raise self._refused("it is signed with an algorithm that is not taken", right, signed=False)
        if not isinstance(key_id, str):
            raise self._refused("it does not name its key (kid)", _KEYS, signed=False)
        try:
            return jwt.decode(
                token,
                self._issuer.key(key_id),
                algorithms=ALGORITHMS,
                issuer=self._issuer.url,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": list(REQUIRED)},
            )
        except (PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> TokenRefused:
        """PyJWT looks at the claims of those only whose signature is right."""
        clocks = "have this machine's clock and the provider's set by NTP"
        match error:
            case exceptions.InvalidAudienceError():
                return self._refused("its audience (aud) is another", f"set {self._setting} to what it names")
            case exceptions.InvalidIssuerError():
                return self._refused(
                    "its issuer (iss) is another", f"set {ISSUER} to what it names, letter by letter"
                )
            case exceptions.ExpiredSignatureError():
                return self._refused("it has expired (exp)", clocks, expired=True)
            case exceptions.ImmatureSignatureError():
                return self._refused(f"it is from the future, by more than {LEEWAY} s (iat, nbf)", clocks)
            case exceptions.MissingRequiredClaimError() if error.claim in REQUIRED:
                return self._refused(f"it has no {error.claim}", f"have the provider's tokens say {error.claim}")
            case (
                exceptions.InvalidSignatureError() | exceptions.InvalidKeyError() | exceptions.InvalidAlgorithmError()
            ):
                return self._refused("its signature is not that of its key", _KEYS, signed=False)
        wrong = f"it can't be read ({type(error).__name__})"
        return self._refused(wrong, "see what the provider puts into its tokens", signed=False)

    def _refused(self, wrong: str, right: str, *, signed: bool = True, expired: bool = False) -> TokenRefused:
        # Of bearer tokens that expire every one does so in the end.
        return TokenRefused(Mistake(self._issuer.setting, wrong, right), signed=signed and not expired)

    def _is_news(self, mistake: Mistake) -> bool:
        now = self._monotonic()
        with self._lock:
            if now - self._told.get(mistake, float("-inf")) < COMPLAINT_INTERVAL:
                return False
            self._told[mistake] = now
            return True

    def _subject(self, claims: Mapping[str, Any]) -> Subject:
        subject = claims["sub"]
        if not (0 < len(subject) <= MAX_SUBJECT_LENGTH and subject.isascii() and subject.isprintable()):
            right = f"have the provider name people with 1 to {MAX_SUBJECT_LENGTH} ASCII characters"
            raise self._refused("its subject (sub) can't be used", right)
        try:
            expires_at = datetime.fromtimestamp(int(claims["exp"]) + LEEWAY, UTC)
        except (ValueError, OverflowError, OSError):
            expires_at = datetime.max.replace(tzinfo=UTC)
        return Subject(self._issuer.url, subject, expires_at)


_KEYS = "see that the provider signs with the keys that it publishes"


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenInvalid
    try:
        return jwt.get_unverified_header(token)
    except (PyJWTError, ValueError) as error:
        raise TokenInvalid from error
