"""Logging a browser in through the issuer: the authorization code flow with PKCE (OpenID Connect Core 1.0, 3.1;
RFC 9700, 2.1.1).

What was begun waits in Redis under its random `state` for ten minutes, and can be finished once, by the browser
that began it.
"""

import io
import json
import logging
from dataclasses import dataclass
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from core.auth.issuer_http import IssuerError, ask
from core.auth.oidc import MAX_SHOWN, Issuer, Subject, Tokens
from core.errors import LoginFailed, TokenInvalid, Unavailable
from core.secret import digest, matches, new_secret
from core.stores.redis import Redis
from core.text.characters import one_line

logger = logging.getLogger(__name__)

LOGIN_STATE_TTL = 600
"""Seconds that people may take at the issuer."""


@dataclass(frozen=True)
class AuthorizationRequest:
    """What sends a browser to the issuer (OpenID Connect Core 1.0, 3.1.2.1)."""

    url: str
    """Where the browser is sent to."""
    binding: str
    """The secret that the browser brings back, so that no attacker can send a victim back with a code of their own
    (RFC 9700, 4.7)."""


class IssuerLogin:
    """Begins logins at the issuer and finishes them."""

    def __init__(self, issuer: Issuer, client_id: str, client_secret: str | None, redis: Redis) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redis = redis
        self._tokens = Tokens(issuer, client_id)

    def begin(self, redirect_uri: str) -> AuthorizationRequest:
        """Where to send a browser that is to come back to `redirect_uri`. Raises Unavailable."""
        endpoint = self._endpoint("authorization_endpoint")
        state, nonce, binding, verifier = (new_secret() for _ in range(4))
        url, _ = self._client(redirect_uri).create_authorization_url(
            endpoint, state=state, nonce=nonce, code_verifier=verifier
        )
        waiting = {"nonce": nonce, "verifier": verifier, "binding": digest(binding).hex()}
        self._redis.set(_key(state), json.dumps(waiting), ex=LOGIN_STATE_TTL)
        return AuthorizationRequest(url, binding)

    def finish(self, redirect_uri: str, state: str, code: str, binding: str) -> Subject:
        """Whom the issuer says the browser's person is. Raises LoginFailed or Unavailable."""
        waiting = self._redis.getdel(_key(state))
        if waiting is None:
            raise LoginFailed("This login has expired or was finished before; begin again.")
        begun = json.loads(str(waiting))
        if not matches(binding, bytes.fromhex(begun["binding"])):
            raise LoginFailed("This login was begun in another browser; begin again.")
        id_token = self._redeem(redirect_uri, code, begun["verifier"])
        try:
            return self._tokens.verify_id_token(id_token, begun["nonce"])
        except TokenInvalid as error:
            # By its class: the words may quote the token.
            logger.warning("a login through the OIDC issuer failed: %s", type(error.__cause__ or error).__name__)
            raise LoginFailed("The identity provider's answer can't be trusted.") from error

    def _redeem(self, redirect_uri: str, code: str, verifier: str) -> str:
        endpoint = self._endpoint("token_endpoint")
        try:
            tokens: dict[str, Any] = self._client(redirect_uri).fetch_token(
                endpoint, code=code, code_verifier=verifier, allow_redirects=False
            )
        except AuthlibBaseError as error:
            reason = one_line(f"{error.error}: {error.description}" if error.description else str(error.error))
            logger.warning("a login through the OIDC issuer failed: its token endpoint says %s", reason[:MAX_SHOWN])
            raise LoginFailed("The identity provider did not confirm this login.") from error
        except (IssuerError, OSError, ValueError) as error:  # requests' own are of the system's
            told = one_line(str(error)) if isinstance(error, IssuerError) else type(error).__name__
            logger.warning("the OIDC issuer's token endpoint failed: %s", told)
            raise Unavailable("The identity provider is away; try again in a moment.", retry_after=5) from None
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise LoginFailed("The identity provider did not say who you are.")
        return id_token

    def _client(self, redirect_uri: str) -> OAuth2Session:
        # One per call: it keeps state of its own, and holds the tokens that it got.
        session = OAuth2Session(
            self._client_id,
            self._client_secret,
            scope="openid",
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Bounded())
        return session

    def _endpoint(self, name: str) -> str:
        try:
            return self._issuer.endpoint(name)
        except IssuerError as error:
            logger.warning("the OIDC issuer can't be used: %s", error)
            raise Unavailable("The identity provider is away; try again in a moment.", retry_after=5) from None


class _Bounded(BaseAdapter):
    """Sends what requests sends, with a deadline and a bound for the answer."""

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        """Send it. Raises IssuerError."""
        body = request.body.encode() if isinstance(request.body, str) else request.body
        assert body is None or isinstance(body, bytes)  # a form
        headers = {name: str(value) for name, value in request.headers.items()}
        answer = ask(str(request.url), body, {**headers, "Accept-Encoding": "identity"})
        response = Response()
        response.status_code, response.url, response.request = answer.status, str(request.url), request
        response.headers.update(answer.headers)
        response.raw = io.BytesIO(answer.body)
        return response

    def close(self) -> None:
        """Nothing is open."""


def _key(state: str) -> str:
    # Hashed: what comes back is anything at all, of any length.
    return f"sb:oidc:{digest(state).hex()}"
