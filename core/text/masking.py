"""Passwords taken out of URLs, and out of what libraries say about URLs."""

import re
from urllib.parse import unquote, unquote_plus

MASK = "***"
MIN_SECRET_LENGTH = 3
"""Characters of a piece of a password that is looked for in a text: shorter ones are in every sentence."""

# Up to the last @, and not to the first: a password that is not quoted may have one inside.
_USERINFO = re.compile(r"(?<=://)([^:@/]*):(.*)@", re.DOTALL)
# Databases have users; what a web server is shown instead of one is a token.
_WEB_USER = re.compile(r"(?i)(?<=http://|ttps://)([^/?#@]+)(?=@)")
_PARAMETER = re.compile(r"(?<=[?&;])([^=&;?]+)=([^&#]*)")
_BARE = re.compile(r"(?<=[?&])[^=&;?#]+(?=[&#]|$)")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
HARMLESS = re.compile(
    r"""
    api[-_]version | application_name | charset | client_encoding | (?:connect_|socket_|read_|write_)?timeout
    | database | db | dbname | decode_responses | encoding | health_check_interval | heartbeat
    | host | max_connections | mode | options | others | port | protocol | retry_on_timeout | socket_keepalive
    | ssl(?:_ca_certs|_ca_path|_cert_reqs|_certfile|_check_hostname|_ciphers|_keyfile|cert|key|mode|rootcert)?
    | target_session_attrs | user | username | virtual_host
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Names of parameters whose values are shown. What others have is a secret: servers of models call it `key`, `code`,
`sig`, `auth`, `subscription-key`, or as they like."""
# Where a library reads no list of hosts, the sentinels beside the first are a parameter (core/stores/redis_url.py).
_SENTINELS = re.compile(r"(sentinels?://[^/?#]+)(/[^?#]*)\?(.+)")
# kombu takes a list of servers.
_NEXT_SERVER = re.compile(r";(?=[A-Za-z][A-Za-z0-9+.-]*://)")


def masked(url: str) -> str:
    """The URL without its passwords, in whatever spelling they are: `redis://user:***@host?ssl_password=***`.
    Sentinels are a list of hosts, as people write them."""
    return ";".join(_masked(each) for each in _NEXT_SERVER.split(url))


def without_secrets(text: object, *urls: str) -> str:
    """What a library says about these URLs, without their passwords: whole, unquoted, or the pieces of one that was
    cut at a character which means something in URLs."""
    said = str(text)
    for url in urls:
        said = said.replace(url, masked(url))
        for secret in sorted(secrets_of(url), key=len, reverse=True):
            said = said.replace(secret, MASK)
    return said


def secrets_of(url: str) -> set[str]:
    """What is not to be shown of the URL, in each spelling: whole, unquoted, and in pieces."""
    found: set[str] = set()
    for each in _NEXT_SERVER.split(url):
        whole = [match[2] for match in _USERINFO.finditer(each)] + _WEB_USER.findall(each) + _BARE.findall(each)
        for name, value in _PARAMETER.findall(each):
            if _is_secret(name) and (len(value) >= MIN_SECRET_LENGTH or _SECRET_NAME.search(unquote_plus(name))):
                whole.append(value)
        for secret in whole:
            spelled = {secret, unquote(secret), unquote_plus(secret)}
            pieces = {piece for spelling in spelled for piece in re.split(r"[@:/?#&=;\[\]]", spelling)}
            found |= {piece for piece in pieces if len(piece) >= MIN_SECRET_LENGTH} | (spelled - {""})
    return found


def _masked(url: str) -> str:
    url = _WEB_USER.sub(MASK, _USERINFO.sub(rf"\1:{MASK}@", url))
    url = _PARAMETER.sub(lambda found: f"{found[1]}={MASK}" if _is_secret(found[1]) else found[0], url)
    return _SENTINELS.sub(_listed, _BARE.sub(MASK, url))


def _listed(sentinels: re.Match[str]) -> str:
    hosts, master, query = sentinels.groups()
    parameters = query.split("&")
    hosts = ",".join([hosts, *(each.removeprefix("others=") for each in parameters if each.startswith("others="))])
    rest = "&".join(each for each in parameters if not each.startswith("others=") and each != "db=0")
    return hosts + master + (f"?{rest}" if rest else "")


def _is_secret(name: str) -> bool:
    return HARMLESS.fullmatch(unquote_plus(name).strip()) is None
