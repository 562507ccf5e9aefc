"""Logging a browser in through the issuer: the authorization code flow with PKCE (OpenID Connect Core 1.0, 3.1;
RFC 9700, 2.1.1).

What was begun waits in Redis under its random `state` for ten minutes, and can be finished once, by the browser
that began it. A login that fails is in the audit log with its reason.
"""

import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authlib.integrations.requests_client import OAuth2Session
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from core.auth.issuer import Issuer, IssuerFault
from core.auth.issuer_http import Answer, FetchFailed, fetch
from core.auth.oidc import Subject, TokenRefused, Tokens
from core.errors import LoginFailed, SwitchboardError
from core.operations.audit import Audit, Kind
from core.operations.preflight.mistake import Mistake
from core.secret import digest, matches, new_secret
from core.stores.redis import Redis

logger = logging.getLogger(__name__)

LOGIN_STATE_TTL = 600
"""Seconds that people may take at the issuer."""
CLIENT_ID, CLIENT_SECRET = "SWITCHBOARD_OIDC_CLIENT_ID", "SWITCHBOARD_OIDC_CLIENT_SECRET"
UNTRUSTED = "The identity provider's answer can't be trusted; begin again, or tell the operator."
NOT_CONFIRMED = "The identity provider did not confirm this login; begin again."

MISTAKEN: Mapping[str, str] = {
    "invalid_client": f"correct {CLIENT_ID} and {CLIENT_SECRET}",
    "unauthorized_client": "allow this client the authorization code flow at the provider",
    "unsupported_grant_type": "allow the authorization code flow at the provider",
    "unsupported_response_type": "allow the authorization code flow at the provider",
    "invalid_scope": "allow this client the scope openid at the provider",
    "invalid_request": "see the provider's log, for it takes no request like this",
}
"""Errors of OAuth that the operator has caused (RFC 6749, 4.1.2.1 and 5.2), and what to do."""
AWAY = ("server_error", "temporarily_unavailable")
"""Those of a provider that can't answer now."""
REFUSALS = (
    *("access_denied", "invalid_grant", "login_required", "interaction_required"),
    *("consent_required", "account_selection_required"),
)
"""Those of one login (also OpenID Connect Core 1.0, 3.1.2.6)."""


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

    def __init__(self, issuer: Issuer, client_id: str, client_secret: str | None, redis: Redis, audit: Audit) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redis = redis
        self._audit = audit
        self._tokens = Tokens(issuer, client_id, CLIENT_ID)

    def begin(self, redirect_uri: str) -> AuthorizationRequest:
        """Where to send a browser that is to come back to `redirect_uri`. Raises Unavailable."""
        try:
            endpoint = self._issuer.endpoint("authorization_endpoint")
        except IssuerFault as fault:
            # Written once a minute, for nobody has been anywhere yet.
            self._audit.refusal(Kind.LOGIN_FAILED, detail=_detail(fault.mistake.wrong))
            raise fault.for_people() from None
        state, nonce, binding, verifier = (new_secret() for _ in range(4))
        url, _ = self._client(redirect_uri).create_authorization_url(
            endpoint, state=state, nonce=nonce, code_verifier=verifier
        )
        waiting = {"nonce": nonce, "verifier": verifier, "binding": digest(binding).hex()}
        self._redis.set(_key(state), json.dumps(waiting), ex=LOGIN_STATE_TTL)
        return AuthorizationRequest(url, binding)

    def finish(self, redirect_uri: str, state: str, code: str, binding: str) -> Subject:
        """Whom the issuer says the browser's person is. Raises LoginFailed or Unavailable."""
        begun = self._take(state, binding)
        try:
            id_token = self._redeem(redirect_uri, code, begun["verifier"])
            return self._tokens.verify_id_token(id_token, begun["nonce"])
        except IssuerFault as fault:
            raise self._failed(fault.mistake.wrong, fault.for_people()) from None
        except TokenRefused as refused:
            mistake = refused.mistake
            logger.warning("an ID token is refused: %s", mistake)
            raise self._failed(f"its ID token: {mistake.wrong}", LoginFailed(UNTRUSTED)) from None

    def refuse(self, state: str, error: str, binding: str) -> SwitchboardError:
        """What people are told when the issuer sends the browser back with an error instead of a code (RFC 6749,
        4.1.2.1). Raises LoginFailed when it was not sent there."""
        self._take(state, binding)
        try:
            wrong = self._oauth_error("the provider", error)
        except IssuerFault as fault:
            logger.warning("%s", fault.mistake)
            return self._failed(fault.mistake.wrong, fault.for_people())
        return self._failed(wrong, LoginFailed("The identity provider did not log you in."))

    def _take(self, state: str, binding: str) -> dict[str, str]:
        """What was begun under this state, once. Raises LoginFailed."""
        waiting = self._redis.getdel(_key(state))
        if waiting is None:
            # Anybody can come like this, as often as they like.
            self._audit.refusal(Kind.LOGIN_FAILED, detail=_detail("a login that has expired, or never was begun"))
            raise LoginFailed("This login has expired or was finished before; begin again.")
        begun: dict[str, str] = json.loads(str(waiting))
        if not matches(binding, bytes.fromhex(begun["binding"])):
            message = "This login was begun in another browser; begin again."
            raise self._failed("it was begun in another browser", LoginFailed(message))
        return begun

    def _failed(self, why: str, error: SwitchboardError) -> SwitchboardError:
        self._audit.record(Kind.LOGIN_FAILED, detail=_detail(why))
        return error

    def _redeem(self, redirect_uri: str, code: str, verifier: str) -> str:
        """The ID token for a code. Raises LoginFailed or IssuerFault, which have been logged."""
        endpoint = self._issuer.endpoint("token_endpoint")
        try:
            answer = self._client(redirect_uri).fetch_token(endpoint, code=code, code_verifier=verifier)
            return self._id_token(answer)
        except FetchFailed as failed:
            right = "see whether the token endpoint of its metadata can be reached from here"
            fault = self._fault(f"its token endpoint {failed}", right, failed.passing)
            logger.warning("%s", fault.mistake)
            raise fault from None
        except IssuerFault as fault:
            logger.warning("%s", fault.mistake)
            raise

    def _id_token(self, answer: Answer) -> str:
        """Raises LoginFailed, FetchFailed or IssuerFault."""
        said = answer.document() if 400 <= answer.status < 500 else answer.json_object()
        if isinstance(said, dict) and isinstance(said.get("error"), str):
            wrong = self._oauth_error("its token endpoint", said["error"])
            right = (
                f"if it does so again, compare {CLIENT_ID}, {CLIENT_SECRET} and the redirect URI with the provider's"
            )
            logger.warning("%s", self._fault(wrong, right).mistake)
            raise self._failed(wrong, LoginFailed(NOT_CONFIRMED))
        tokens = answer.json_object()
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise self._fault("its token endpoint gives no ID token", "allow this client the scope openid there")
        return id_token

    def _oauth_error(self, who: str, error: str) -> str:
        """What is wrong by an error code of the provider's, which is shown if it is known. Raises IssuerFault when it
        is not about this one login."""
        if error in MISTAKEN:
            raise self._fault(f"{who} answers {error}", MISTAKEN[error])
        if error in AWAY:
            raise self._fault(f"{who} answers {error}", "see the provider's log", passing=True)
        return f"{who} answers {error if error in REFUSALS else 'an error that is none of OAuth'}"

    def _fault(self, wrong: str, right: str, passing: bool = False) -> IssuerFault:
        return IssuerFault(Mistake(self._issuer.setting, wrong, right, passing))

    def _client(self, redirect_uri: str) -> "_Client":
        # One per call: it keeps state of its own.
        return _Client(
            self._client_id,
            self._client_secret,
            scope="openid",
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )


class _Client(OAuth2Session):  # type: ignore[misc]
    """Authlib's, which asks by our own rules, and leaves answers to us."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.trust_env = False  # proxies are known to `fetch`
        self.adapters = {"https://": _Adapter(), "http://": _Adapter()}

    def parse_response_token(self, response: Response) -> Answer:
        """The answer as it is."""
        return Answer(response.status_code, response.content)


class _Adapter(BaseAdapter):
    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        """Raises FetchFailed."""
        body = request.body.encode() if isinstance(request.body, str) else None  # a form
        sent = {name: str(value) for name, value in request.headers.items()}
        answer = fetch(str(request.url), headers=sent, body=body)
        response = Response()
        response.status_code, response.url, response.raw = answer.status, str(request.url), io.BytesIO(answer.body)
        response.request = request
        return response

    def close(self) -> None:
        """There is nothing to close."""


def _detail(why: str) -> str:
    return f"oidc: {why}"


def _key(state: str) -> str:
    # Hashed: what comes back is anything at all, of any length.
    return f"sb:oidc:{digest(state).hex()}"
