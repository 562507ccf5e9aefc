"""E-mail addresses, as the names of accounts. Nothing is ever sent to one."""

import unicodedata

import email_validator

from core.errors import InvalidBody

# Names such as office.local are nobody's on the Internet, but may well be somebody's here.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def normal_address(text: str) -> str:
    """The one spelling of an address: trimmed, case-folded, its domain in Unicode. Raises InvalidBody.

    A mail server may tell upper from lower case before the @; hardly any does, and people don't.
    """
    try:
        valid = email_validator.validate_email(text.strip(), check_deliverability=False, globally_deliverable=False)
    except email_validator.EmailNotValidError as error:
        raise InvalidBody(f"email: {error}", field="email") from None
    return unicodedata.normalize("NFC", valid.normalized.casefold())


def account_key(text: str) -> str:
    """Under which name attempts to log in with this address are counted; also when it is none."""
    try:
        return normal_address(text)
    except InvalidBody:
        return text.strip().casefold()
