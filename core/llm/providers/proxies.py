"""Which proxy a server is reached by, as the environment says: pure. Read as curl and most other programs do.

One server at a time, and not all of the environment at once: a variable that is wrong then stops no request that it
does not concern.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from core.llm.providers.base import ErrorKind, ProviderError

SCHEMES = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5h", "socks": "socks5h"}
"""Kinds of proxies. GNOME writes `socks`, and means the fifth version."""
PORTS = {"http": 80, "https": 443}
NO_PROXY_AT_ALL = ("none", "direct", "no", "off", "false", "null", "disabled", "0", "-", '""', "''")
"""Values that people write when they want no proxy."""
MAX_CREDENTIAL_LENGTH = 255
"""Bytes of a user's name, and of a password, in SOCKS."""


class Proxy(NamedTuple):
    """A proxy, and where it stands."""

    url: str
    """With its user's name and password, if it has any: not to be shown."""
    variable: str
    """The name of the environment variable."""


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy before a server, or None. Raises ProviderError that names the variable when it holds no address."""
    try:
        server = urlsplit(url)
        host, port = (server.hostname or "").rstrip("."), server.port or PORTS.get(server.scheme)
    except ValueError:  # no URL: the request itself will fail, and say so
        return None
    if is_loopback(host) or _is_excepted(host, port, _value("no_proxy", environment)[1]):
        return None
    for name in (f"{server.scheme}_proxy", "all_proxy"):
        variable, value = _value(name, environment)
        if value:
            return Proxy(_checked(value, variable), variable)
    return None


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, whom no proxy reaches."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return address is not None and (mapped or address).is_loopback


def _value(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """A variable and what it holds. The small letters come first, also when they say: none."""
    variable = name if name in environment else name.upper()
    return variable, environment.get(variable, "").strip()


def _checked(value: str, variable: str) -> str:
    """The proxy's address as an HTTP client takes it."""
    if value.lower().rstrip(":/") in NO_PROXY_AT_ALL:
        raise _wrong(variable, "names no proxy: for none it is to be empty, or NO_PROXY to name the server")
    address = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(address)
        scheme, host = SCHEMES.get(parts.scheme), parts.hostname
        usable = scheme and host and re.fullmatch(r"[\w.:%-]+", host) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not address.isascii() or not address.isprintable() or " " in address:
        raise _wrong(
            variable, "holds no address of a proxy; one is like http://proxy.example:3128 (or https, socks5, socks5h)"
        )
    if scheme in ("socks5", "socks5h"):
        for credential in (parts.username, parts.password):
            if len(unquote_to_bytes(credential or "")) > MAX_CREDENTIAL_LENGTH:
                raise _wrong(
                    variable, f"has a name or password of more than {MAX_CREDENTIAL_LENGTH} bytes: SOCKS has none"
                )
    return f"{scheme}://{address.partition('://')[2]}"


def _wrong(variable: str, complaint: str) -> ProviderError:
    return ProviderError(ErrorKind.MISCONFIGURED, f"{variable} {complaint}")


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    return any(_excepts(entry.lower(), host, port) for entry in re.split(r"[\s,;]+", exceptions) if entry)


def _excepts(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY means the host: a name and all below it, an address, a network, or `*`."""
    if entry == "*":
        return True
    entry = entry.partition("://")[2] or entry
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            entry = entry.partition("/")[0]
    if _address(entry) is None:
        named, _, only = entry.rpartition(":")
        if named and only.isdecimal():
            if int(only) != port:
                return False
            entry = named
    if (excepted := _address(entry)) is not None:
        return address == excepted
    name = entry.removeprefix("*").lstrip(".").rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
