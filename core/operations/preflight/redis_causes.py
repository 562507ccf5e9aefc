"""Why a Redis can't be used, from what its client was told, and from what answers in its place."""

import re
import socket
import ssl
from typing import NamedTuple

from core.stores.redis_url import RedisServer

TIMEOUT = 2.0
"""Seconds for each answer."""
LOOK_TIMEOUT = 0.7
"""Seconds to find out what else answers there."""
# Redis takes it for a command with too many arguments; a web server, for a request of a kind that it does not know.
_ANYBODY = b"PING / HTTP/1.0\r\n\r\n"

START = "start it, or correct the address"
CREDENTIALS = "correct them: redis://user:password@host, and redis://:password@host for the default user"
DISK_ERROR = re.compile(r"AOF file: (.+)")

ALLOW = "allow it all: ACL SETUSER <user> +@all ~* &*"


class Cause(NamedTuple):
    """What is wrong, what would be right, and whether it may pass by itself."""

    wrong: str
    right: str
    passing: bool = False


NO_CONNECTION = "max number of clients"
FULL = Cause("it has no connection left", "raise its maxclients", passing=True)


def cause_of(server: RedisServer, error: BaseException) -> Cause:
    """Redis's own answers by the driver's class, which is the answer's code; failures to reach it by the system's."""
    said = str(error)
    match type(error).__name__:
        case "AuthenticationError" if server.password is None:
            return Cause("it wants a password", CREDENTIALS)
        case "AuthenticationError":
            return Cause("it refuses the user or the password", CREDENTIALS)
        case "NoPermissionError":
            return Cause(said, ALLOW)
        case "BusyLoadingError":
            return Cause("it is still reading its data", "wait until it has", passing=True)
        case "ResponseError" if "DB index" in said:
            return Cause(f"it has no database {server.db}", "take one that it has, as 0")
        case "ConnectionError" if NO_CONNECTION in said:
            return FULL
        case "ConnectionError" | "TimeoutError":
            return _unreached(server, error.__cause__ or error.__context__ or error)
    return refusal_of(error) or Cause(said, "see its log", passing=True)


def refusal_of(error: BaseException) -> Cause | None:
    """Why a Redis that answers takes no writes, if that is what the driver's exception says."""
    said = str(error)
    match type(error).__name__:
        case "ReadOnlyError":
            return Cause("it is a read-only replica", "name the primary", passing=True)
        case "OutOfMemoryError":
            wrong = "it is out of memory, and takes no writes"
            return Cause(wrong, "raise its maxmemory, or find what fills it", passing=True)
        case "ResponseError" if said.startswith("MISCONF"):
            wrong = "it can't write to its disk, and takes no writes"
            found = DISK_ERROR.search(said)
            return Cause(f"{wrong} ({found[1]})" if found else wrong, "free some of that disk", passing=True)
        case "ResponseError" if said.startswith("NOREPLICAS"):
            wrong = "it has too few replicas, and takes no writes"
            return Cause(wrong, "start them, or lower its min-replicas-to-write", passing=True)
    return None


def _unreached(server: RedisServer, error: BaseException) -> Cause:
    match error:
        case socket.gaierror():
            return Cause(f"no address is known for {server.host}", "correct the name", passing=True)
        case ConnectionRefusedError():
            return Cause("nothing listens there", START, passing=True)
        case FileNotFoundError():
            return Cause("there is no such socket", START, passing=True)
        case PermissionError():
            return Cause("this user may not use that socket", "let it: `unixsocketperm` and the socket's group")
        case ssl.SSLCertVerificationError():
            return Cause(
                f"its certificate is not trusted ({error.verify_message})",
                "name its CA: rediss://...?ssl_ca_certs=/path/to/ca.pem",
            )
    if not isinstance(error, TimeoutError) and NO_CONNECTION in _first_words(server):
        return FULL
    return _stranger(server, error) if server.socket is None else Cause(str(error), START, passing=True)


def _first_words(server: RedisServer) -> str:
    """What it says to a connection that says nothing."""
    try:
        if server.socket is None:
            connection = socket.create_connection((server.host, server.port), LOOK_TIMEOUT)
        else:
            connection = socket.socket(socket.AF_UNIX)
        with connection:
            connection.settimeout(LOOK_TIMEOUT)
            if server.socket is not None:
                connection.connect(str(server.socket))
            return connection.recv(512).decode(errors="replace")
    except OSError:
        return ""


def _stranger(server: RedisServer, error: BaseException) -> Cause:
    """What answers in the place of Redis, or of one that speaks otherwise."""
    address = (server.host, server.port)
    greeting = _greeting(address)
    if server.tls is not None and greeting[:1] in (b"+", b"-"):
        return Cause("it speaks without TLS", "write redis://, or turn TLS on there")
    if greeting.startswith(b"HTTP/") or b"<html" in greeting.lower():
        return Cause("a web server answers there, no Redis", "correct the port")
    if server.tls is None and _speaks_tls(address):
        return Cause("it speaks TLS", "write rediss://")
    if greeting[:1] not in (b"", b"+", b"-"):
        return Cause("something answers there that is no Redis", "correct the port")
    if isinstance(error, TimeoutError):
        return Cause(f"no answer within {TIMEOUT:g} s", "see whether it is frozen", passing=True)
    right = "see its log"
    if server.tls is not None and "ssl_certfile" not in server.tls_options:
        right += (
            "; if it wants a certificate: rediss://...?ssl_certfile=/path/to/cert.pem&ssl_keyfile=/path/to/key.pem"
        )
    return Cause(f"it breaks the connection off ({type(error).__name__})", right, passing=True)


def _greeting(address: tuple[str, int]) -> bytes:
    try:
        with socket.create_connection(address, LOOK_TIMEOUT) as connection:
            connection.sendall(_ANYBODY)
            return connection.recv(512)
    except OSError:
        return b""


def _speaks_tls(address: tuple[str, int]) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is told to whom that may be
    try:
        with socket.create_connection(address, LOOK_TIMEOUT) as connection, context.wrap_socket(connection):
            return True
    except OSError:
        return False
