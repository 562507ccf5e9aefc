"""Which buckets a request is charged to: pure functions of its sender and of the configured rates."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from uuid import UUID

from core.limits.rate import Rate
from core.limits.rate_limit import Bucket

# One household or server has a /64 of IPv6 as it has one address of IPv4, and can have more: a provider's
# customers get a /56 or /48. So the networks around an address have limits too, wide enough for neighbours.
PREFIXES = {4: ((32, 1), (24, 4), (16, 16)), 6: ((64, 1), (56, 4), (48, 16))}
"""By IP version: the lengths of the limited prefixes, and how many times the rate each gets."""

KNOWN_CLIENT_FACTOR = 16
"""How many times a stranger's rate an address gets for all its known clients together, and for requests that guess
nothing: enough for an office, and still a bound on the hashes that one address can ask for."""


def address_buckets(policy: str, address: str | None, rate: Rate | None) -> list[Bucket]:
    """The buckets of a client's address, and of the networks that it is in. None when the rate is off.

    Clients without a readable address share one bucket.
    """
    if rate is None:
        return []
    parsed = _address(address)
    if parsed is None:
        return [Bucket(policy, "nowhere", rate)]
    return [
        Bucket(
            policy if factor == 1 else f"{policy}-network",
            _network(parsed, prefix),
            rate.times(factor),
            public=factor == 1,
        )
        for prefix, factor in PREFIXES[parsed.version]
    ]


def creation_buckets(address: str | None, rate: Rate | None, global_rate: Rate | None) -> list[Bucket]:
    """The buckets of an anonymous session's creation: of the address, and of all clients together."""
    shared = [] if global_rate is None else [Bucket("create-global", "all", global_rate, public=False)]
    return [*address_buckets("create", address, rate), *shared]


def login_buckets(address: str | None, account_key: str, rate: Rate | None) -> list[Bucket]:
    """The buckets of an attempt to log in: of the address, and of the account that it names, existing or not.

    Charge them before the password is looked at.
    """
    return [*address_buckets("login", address, rate), *account_buckets(account_key, rate)]


def account_buckets(account_key: str, rate: Rate | None) -> list[Bucket]:
    """The bucket of an account. Its level is not told to clients: others' attempts count too."""
    return [] if rate is None else [Bucket("login-account", account_key, rate, public=False)]


def known_buckets(policy: str, subject: str, address: str | None, rate: Rate | None) -> list[Bucket]:
    """The buckets of an attempt to prove a password by a client that has proved it before: `subject` is its login, or
    its device. Strangers' attempts count for neither of them, whatever account and address they try.
    """
    if rate is None:
        return []
    return [Bucket(policy, subject, rate), *address_buckets("login-known", address, rate.times(KNOWN_CLIENT_FACTOR))]


def owner_buckets(policy: str, owner: UUID, rate: Rate | None) -> list[Bucket]:
    """That of a session's owner: a user, or an anonymous session, which is its own."""
    return [] if rate is None else [Bucket(policy, str(owner), rate)]


def _network(address: IPv4Address | IPv6Address, prefix: int) -> str:
    """The network, as ipaddress.ip_network writes it, in a fifth of the time: a request asks for three."""
    host_bits = address.max_prefixlen - prefix
    return f"{type(address)(int(address) >> host_bits << host_bits)}/{prefix}"


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    # The same machine, whether the server listens on IPv4 or on both.
    return getattr(address, "ipv4_mapped", None) or address
