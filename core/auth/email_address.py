"""E-mail addresses, as the names of accounts. Nothing is ever sent to one."""

import unicodedata
from functools import cache
from types import ModuleType

from core.errors import InvalidBody

MAX_LENGTH = 320
"""Code points that are looked at: 64 before the @ and 255 after it (RFC 5321, 4.5.3.1). Normalisation takes time that
grows with the square of what it gets, so what is longer is not even normalised."""
_TOO_LONG = "too long to be an address"


def normal_address(text: str) -> str:
    """The one spelling of an address: trimmed, case-folded, its domain in Unicode. Raises InvalidBody.

    A mail server may tell upper from lower case before the @; hardly any does, and people don't.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidBody(
            f"email: An address has at most {MAX_LENGTH} characters; this has {len(text)}.", field="email"
        )
    email_validator = _validator()
    try:
        valid = email_validator.validate_email(text.strip(), check_deliverability=False, globally_deliverable=False)
    except email_validator.EmailNotValidError as error:
        raise InvalidBody(f"email: {error}", field="email") from None
    return unicodedata.normalize("NFC", valid.normalized.casefold())


@cache
def _validator() -> ModuleType:
    """The library, loaded where an address is read: no worker reads one."""
    import email_validator

    # Names such as office.local are nobody's on the Internet, but may well be somebody's here.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    return email_validator


def account_key(text: str) -> str:
    """Under which name attempts to log in with this address are counted; also when it is none."""
    if len(text) > MAX_LENGTH:
        return _TOO_LONG
    try:
        return normal_address(text)
    except InvalidBody:
        return text.strip().casefold()
