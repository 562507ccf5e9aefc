"""Secrets taken out of what is logged: those that the process knows, and what has the shape of one."""

import re
from collections.abc import Callable, Iterable, Mapping

from core.text.masking import MASK, masked

MIN_SECRET_LENGTH = 4
"""Characters of a secret that is looked for by its value: a shorter one is part of too many words."""
SECRET_NAME = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASS|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
"""Names of variables whose values are secrets, such as OPENAI_API_KEY."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
# What follows a path, and has a value: it may be words.
_QUERY = re.compile(r"(?<=[\w/])\?[^\s'\"<>]*=[^\s'\"<>]*")
_CREDENTIAL = re.compile(
    r"""
    \bsb_[0-9a-f]{32}_[\w-]+                        # an API key of ours
    | (?<=[0-9a-f]{12}\.)[\w-]{40,}                 # the secret behind the id of a session or a login
    | \beyJ[\w-]{8,}\.[\w-]+\.[\w-]*                # a JSON Web Token
    | \b(?:sk|pk|rk)-[\w-]{16,}                     # keys of providers
    | (?<=\bBearer\ )[^\s'",]+ | (?<=\bBasic\ )[A-Za-z0-9+/=]{8,}
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that takes these secrets, and what looks like one, out of a text."""
    found = sorted({each for each in secrets if len(each) >= MIN_SECRET_LENGTH}, key=len, reverse=True)
    # Whole words only: a password may be a part of a name that is told everywhere.
    known = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, found))})(?!\w)") if found else None

    def redact(text: str) -> str:
        if "://" in text:
            text = _URL.sub(lambda url: masked(url[0]), text)
        if "?" in text:
            text = _QUERY.sub(f"?{MASK}", text)
        text = _CREDENTIAL.sub(MASK, text)
        return known.sub(MASK, text) if known else text

    return redact


def secrets_in(environment: Mapping[str, str]) -> set[str]:
    """The values of variables that are named like secrets: keys of models have names of the operator's own."""
    return {value for name, value in environment.items() if SECRET_NAME.search(name)}
