"""The identity provider: what its metadata say, and its public keys, fetched seldom and kept.

What is wrong with it is told to the operator in one line of the log for each fetch, and to people as one of two
sentences: it is away, or it is not set up correctly here.
"""

import logging
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWTError

from core.auth.issuer_http import FetchFailed, fetch
from core.errors import TokenInvalid, Unavailable
from core.operations.preflight.mistake import Mistake, with_value
from core.text.characters import one_line
from core.text.masking import masked

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
ISSUER, JWKS_URL = "SWITCHBOARD_OIDC_ISSUER", "SWITCHBOARD_OIDC_JWKS_URL"
LOGIN_ENDPOINTS = ("authorization_endpoint", "token_endpoint")
"""What a browser's login needs of the metadata."""

UNKNOWN_KEY_COOLDOWN = 60.0
"""Seconds after a fetch of the keys in which no key, however unknown, causes another."""
FETCH_RETRY_INTERVAL = 5.0
"""Seconds after a fetch that failed in which there is no other."""
MISTAKE_RETRY_INTERVAL = 60
"""Seconds after which those come back who are told that the operator has something to correct."""
KEYS_REFRESH_INTERVAL = 300.0
"""Seconds after which keys are fetched anew, so that one the issuer withdrew is forgotten."""
KEYS_TTL = 3600.0
"""Seconds that keys are still believed when the issuer can't be reached."""
MAX_SHOWN = 255
"""Characters of the provider's that a log line shows."""


class IssuerFault(Exception):
    """The provider can't be used: it is away, or something is wrong that the operator has to correct."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(str(mistake))
        self.mistake = mistake

    def for_people(self) -> Unavailable:
        """What people are told of it."""
        if self.mistake.passing:
            away = "The identity provider is away; try again in a moment."
            return Unavailable(away, retry_after=int(FETCH_RETRY_INTERVAL))
        misconfigured = "Logging in through the identity provider is not set up correctly here; tell the operator."
        return Unavailable(misconfigured, retry_after=MISTAKE_RETRY_INTERVAL)


class Issuer:
    """The configured provider. An ordinary object, that all threads share."""

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
        self._keys_mistake: Mistake | None = None
        self._metadata_lock = Lock()
        self._metadata: tuple[Mapping[str, Any], float] = {}, float("-inf")
        self._metadata_mistake: tuple[Mistake | None, float] = None, float("-inf")

    @property
    def setting(self) -> str:
        """The setting that names the provider, and its value."""
        return with_value(ISSUER, self.url)

    def endpoint(self, name: str) -> str:
        """A URL of the issuer's metadata (OpenID Connect Discovery 1.0, 3), which are kept for a while if they have
        it. Raises IssuerFault."""
        if url := self._known_endpoint(name):
            return url
        with self._metadata_lock:
            if url := self._known_endpoint(name):
                return url
            mistake, until = self._metadata_mistake
            if mistake is not None and self._monotonic() < until:
                raise IssuerFault(mistake)
            try:
                metadata = self._fetch_metadata()
                url = self._required_endpoint(metadata, name)
            except IssuerFault as fault:
                logger.warning("%s", fault.mistake)
                self._metadata_mistake = fault.mistake, self._monotonic() + FETCH_RETRY_INTERVAL
                raise
            self._metadata = metadata, self._monotonic() + KEYS_REFRESH_INTERVAL
            return url

    def key(self, key_id: str) -> PyJWK:
        """The key of this id. Raises TokenInvalid, or IssuerFault when no keys are known at all."""
        known = key_id in self._keys
        # Only one thread fetches, and one that has its key already does not wait for it.
        if (not known or self._age() > KEYS_REFRESH_INTERVAL) and self._lock.acquire(blocking=not known):
            try:
                if key_id not in self._keys or self._age() > KEYS_REFRESH_INTERVAL:
                    self._refresh_keys()
            finally:
                self._lock.release()
        if not self._keys and self._keys_mistake is not None:
            raise IssuerFault(self._keys_mistake)
        key = self._keys.get(key_id)
        if key is None:
            raise TokenInvalid
        return key

    def look(self, *names: str) -> Mapping[str, PyJWK]:
        """Ask for all of it now, with these endpoints: the usable keys. Nothing is kept or logged. Raises
        IssuerFault."""
        url = self._jwks_url
        if names or url is None:
            metadata = self._fetch_metadata()
            for name in names:
                self._required_endpoint(metadata, name)
            url = url or self._required_endpoint(metadata, "jwks_uri")
        return self._usable_keys(url)

    def _usable_keys(self, url: str) -> Mapping[str, PyJWK]:
        """Raises IssuerFault."""
        try:
            fetched = fetch(url).json_object()
        except FetchFailed as failed:
            raise self._unreachable(self._keys_setting, "the address of its keys", failed) from None
        try:
            found = PyJWKSet.from_dict(fetched).keys
            usable = {
                key.key_id: key
                for key in found
                if key.key_id and key.public_key_use in ("sig", None) and key.algorithm_name in ALGORITHMS
            }
        except (PyJWTError, ValueError, TypeError, AttributeError):
            usable = {}
        if not usable:
            right = f"have it publish one with a kid for one of {', '.join(ALGORITHMS)}"
            raise IssuerFault(Mistake(self._keys_setting, "there is no key to check signatures with", right))
        return usable

    @property
    def _keys_setting(self) -> str:
        return self.setting if self._jwks_url is None else with_value(JWKS_URL, self._jwks_url)

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    def _refresh_keys(self) -> None:
        if self._monotonic() < self._not_before:
            return
        try:
            self._keys = self._usable_keys(self._jwks_url or self.endpoint("jwks_uri"))
            self._keys_mistake = None
            self._fetched_at = self._monotonic()
            self._not_before = self._fetched_at + UNKNOWN_KEY_COOLDOWN
        except IssuerFault as fault:
            if fault.mistake != self._metadata_mistake[0]:  # which has had its line
                logger.warning("%s", fault.mistake)
            self._keys_mistake = fault.mistake
            self._not_before = self._monotonic() + FETCH_RETRY_INTERVAL
            if self._age() > KEYS_TTL:
                self._keys = {}

    def _known_endpoint(self, name: str) -> str | None:
        known, until = self._metadata
        url = known.get(name)
        return url if self._monotonic() < until and _is_url(url) else None

    def _fetch_metadata(self) -> Mapping[str, Any]:
        try:
            metadata = fetch(f"{self.url.rstrip('/')}/.well-known/openid-configuration").json_object()
        except FetchFailed as failed:
            raise self._unreachable(self.setting, "the address of its metadata", failed) from None
        named = metadata.get("issuer")
        if named == self.url:
            return metadata
        if not isinstance(named, str):
            raise IssuerFault(Mistake(self.setting, "its metadata names no issuer", _IS_IT_ONE))
        shown = one_line(masked(named[:MAX_SHOWN])).replace(";", ",")
        right = f"if that is the one, set {ISSUER} to exactly that"
        raise IssuerFault(Mistake(self.setting, f"its metadata names another issuer, {shown}", right))

    def _required_endpoint(self, metadata: Mapping[str, Any], name: str) -> str:
        url = metadata.get(name)
        if _is_url(url):
            return str(url)
        wrong = "has no" if url is None else "names no http(s) address as"
        raise IssuerFault(Mistake(self.setting, f"its metadata {wrong} {name}", _IS_IT_ONE))

    def _unreachable(self, setting: str, what: str, failed: FetchFailed) -> IssuerFault:
        right = (
            "start it, or see what keeps this machine from it"
            if failed.passing
            else "correct the address, or what answers there"
        )
        return IssuerFault(Mistake(setting, f"{what} {failed}", right, failed.passing))


_IS_IT_ONE = "see whether the address is that of an OpenID Connect provider"


def _is_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return urlsplit(value).scheme in ("https", "http") and bool(urlsplit(value).hostname)
    except ValueError:
        return False
