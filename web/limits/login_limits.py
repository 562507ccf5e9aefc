"""How often passwords may be tried: per account, per address and per browser."""

from core.auth.devices import Device
from core.auth.email_address import account_key
from core.auth.principal import Principal
from core.limits.buckets import KNOWN_CLIENT_FACTOR, account_buckets, address_buckets, known_buckets, login_buckets
from web.context import context
from web.limits import rate_limit_headers


def admit_login(email: str, device: Device | None, address: str | None) -> None:
    """Charge an attempt to log in, before any password is hashed. A browser that the account knows has an allowance
    of its own, which strangers can't use up. Raises RateLimited or Unavailable."""
    rate = context().options.limit_login
    if device is None:
        rate_limit_headers.require(login_buckets(address, account_key(email), rate))
    else:
        rate_limit_headers.require(known_buckets("login-device", f"{device.user_id} {device.nonce}", address, rate))


def admit_registration(email: str, address: str | None) -> None:
    """Charge an attempt to register to the address. Raises RateLimited or Unavailable.

    It counts for the account too, since it tells whether there is one, but is not refused for that: strangers could
    otherwise keep the account's owner from registering.
    """
    rate = context().options.limit_login
    rate_limit_headers.require(address_buckets("login", address, rate))
    context().services.limiter.charge(account_buckets(account_key(email), rate))


def admit_password(principal: Principal, address: str | None) -> None:
    """Charge an attempt to prove the password to the login that asks: a stolen login could otherwise be used to try
    passwords freely. Raises RateLimited or Unavailable."""
    subject = str(principal.login_id or principal.user_id)
    rate_limit_headers.require(known_buckets("password", subject, address, context().options.limit_login))


def admit_issuer_login(address: str | None) -> None:
    """Charge the start of a login through the identity provider to the address. Raises RateLimited or Unavailable.

    No password is guessed here, so attempts at passwords from the same address don't count, and more is allowed.
    """
    rate = context().options.limit_login
    rate_limit_headers.require(address_buckets("login-issuer", address, rate and rate.times(KNOWN_CLIENT_FACTOR)))
