"""The names in a `Host` header: which of them can only mean this machine, and which a server answers to.

A page can have its own name point to 127.0.0.1 (DNS rebinding). To a browser the answers are then the page's own, so
a server that asks for no password looks at the name under which it was asked: the page can't choose that.
"""

import re
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address

_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d*)?", re.IGNORECASE)


def host_name(header: str) -> str | None:
    """The name or address in a `Host` header, in lower case and without brackets and port; None if it is none."""
    match = _HOST.fullmatch(header)
    return match and (match["address"] or match["name"]).lower().removesuffix(".")


def is_loopback(name: str) -> bool:
    """Whether nothing but this machine can be meant: loopback addresses, `localhost`, and what ends with it."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    # A client that speaks IPv4 to a socket for both is seen as ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_own(header: str | None, names: Collection[str]) -> bool:
    """Whether a request with this `Host` is for a server of these names, beside the machine's own.

    One without the header comes from no browser.
    """
    if header is None:
        return True
    name = host_name(header)
    return name is not None and (is_loopback(name) or name in names)
