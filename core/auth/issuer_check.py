"""What keeps the identity provider from being used, for the operator."""

from jwt.exceptions import PyJWTError

from core.auth.issuer_http import IssuerError
from core.auth.oidc import Issuer
from core.operations.preflight.mistake import Mistake
from core.text.characters import one_line

VARIABLE = "SWITCHBOARD_OIDC_ISSUER"
LOGIN_ENDPOINTS = ("authorization_endpoint", "token_endpoint")


def issuer_mistake(url: str, jwks_url: str | None, *, login: bool) -> Mistake | None:
    """What is wrong with the provider's metadata or keys, or None; with `login`, also for browsers' logins. Takes up
    to six seconds."""
    setting = f"{VARIABLE}={url}"
    issuer = Issuer(url, jwks_url)
    try:
        if login or jwks_url is None:
            issuer.metadata()
        for name in LOGIN_ENDPOINTS if login else ():
            issuer.endpoint(name)
        if issuer.fetch_keys():
            return None
        wrong = "none of its keys can check a token"
    except PyJWTError as error:
        wrong = one_line(str(error))
        if isinstance(error, IssuerError) and "names the issuer" in wrong:
            return Mistake(setting, wrong, "write it as the metadata does, to the last slash", passing=True)
    return Mistake(setting, wrong, "see the provider's settings, or correct the address", passing=True)
