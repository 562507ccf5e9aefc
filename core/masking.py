"""Passwords taken out of URLs, and out of what libraries say about URLs."""

import re
from urllib.parse import unquote, unquote_plus

MASK = "***"
SHORTEST = 3
"""Characters of a piece of a password that is looked for in a text: shorter ones are in every sentence."""

# Up to the last @, and not to the first: who writes a password without quoting it may have one inside.
_USERINFO = re.compile(r"(?<=://)([^:@/]*):(.*)@", re.DOTALL)
_PARAMETER = re.compile(r"(?<=[?&;])([^=&;?]+)=([^&]*)")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
# kombu takes a list of servers.
_NEXT_SERVER = re.compile(r";(?=[A-Za-z][A-Za-z0-9+.-]*://)")


def masked(url: str) -> str:
    """The URL without its passwords, in whatever spelling they are: `redis://user:***@host?ssl_password=***`."""
    return ";".join(_masked(each) for each in _NEXT_SERVER.split(url))


def without_secrets(text: object, *urls: str) -> str:
    """What a library says about these URLs, without their passwords: whole, unquoted, or the pieces of one that was
    cut at a character which means something in URLs."""
    said = str(text)
    for url in urls:
        said = said.replace(url, masked(url))
        for secret in sorted(_spellings(url), key=len, reverse=True):
            said = said.replace(secret, MASK)
    return said


def _masked(url: str) -> str:
    url = _USERINFO.sub(rf"\1:{MASK}@", url)
    return _PARAMETER.sub(lambda found: f"{found[1]}={MASK}" if _is_secret(found[1]) else found[0], url)


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(unquote_plus(name)) is not None


def _spellings(url: str) -> set[str]:
    found: set[str] = set()
    for each in _NEXT_SERVER.split(url):
        secrets = [match[2] for match in _USERINFO.finditer(each)]
        secrets += [match[2] for match in _PARAMETER.finditer(each) if _is_secret(match[1])]
        for secret in secrets:
            whole = {secret, unquote(secret), unquote_plus(secret)}
            pieces = {piece for spelling in whole for piece in re.split(r"[@:/?#&=;\[\]]", spelling)}
            found |= {piece for piece in pieces if len(piece) >= SHORTEST} | (whole - {""})
    return found
