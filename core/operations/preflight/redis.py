"""What keeps a Redis from being used: a server that is away, another one, or one that wants to be asked otherwise."""

import socket
import ssl
from contextlib import closing
from typing import NamedTuple

from core.operations.preflight.mistake import Mistake, with_value
from core.stores.redis import RedisUnavailable, connect
from core.stores.redis_url import RedisServer
from core.text.characters import one_line
from core.text.masking import without_secrets

TIMEOUT = 2.0
"""Seconds for each answer."""
LOOK_TIMEOUT = 0.7
"""Seconds to find out what else answers there."""
# Redis takes it for a command with too many arguments; a web server, for a request of a kind that it does not know.
_ANYBODY = b"PING / HTTP/1.0\r\n\r\n"


class _Cause(NamedTuple):
    wrong: str
    right: str
    passing: bool = False


START = "start it, or correct the address"
CREDENTIALS = "correct them: redis://user:password@host, and redis://:password@host for the default user"

CLUSTER = (
    "it is a node of a Redis Cluster, which is not supported",
    "name one server (cluster-enabled no), or Sentinel: sentinel://HOST:26379/MASTER",
)


def redis_mistake(variable: str, url: str) -> Mistake | None:
    """What keeps the Redis at `url`, which the variable names, from being used, or None. Takes some four seconds."""
    try:
        with closing(connect(url, timeout=TIMEOUT, connect_timeout=TIMEOUT)) as client:
            client.info("server")
            client.eval("return 1", 0)
            if client.info("cluster").get("cluster_enabled"):  # a session's keys share a slot, those of limits don't
                wrong, right = CLUSTER
                return Mistake(with_value(variable, url), wrong, right)
            client.delete("sb:nothing")  # of one that takes no writes, the first refusal
            return None
    except RedisUnavailable as error:
        cause = _cause(RedisServer.parse(url), error.cause)
    wrong = one_line(without_secrets(cause.wrong, url))
    return Mistake(with_value(variable, url), wrong, cause.right, cause.passing)


def _cause(server: RedisServer, error: BaseException) -> _Cause:
    """Redis's own answers by the driver's class, which is the answer's code; failures to reach it by the system's."""
    said = str(error)
    match type(error).__name__:
        case "AuthenticationError" if server.password is None:
            return _Cause("it wants a password", CREDENTIALS)
        case "AuthenticationError":
            return _Cause("it refuses the user or the password", CREDENTIALS)
        case "NoPermissionError":
            return _Cause(said, "allow it all: ACL SETUSER <user> +@all ~* &*")
        case "ReadOnlyError":
            return _Cause("it is a read-only replica", "name the primary", passing=True)
        case "BusyLoadingError":
            return _Cause("it is still reading its data", "wait until it has", passing=True)
        case "ResponseError" if "DB index" in said:
            return _Cause(f"it has no database {server.db}", "take one that it has, as 0")
        case "ConnectionError" | "TimeoutError":
            return _unreached(server, error.__cause__ or error.__context__ or error)
    return _Cause(said, "see its log", passing=True)


def _unreached(server: RedisServer, error: BaseException) -> _Cause:
    match error:
        case socket.gaierror():
            return _Cause(f"no address is known for {server.host}", "correct the name", passing=True)
        case ConnectionRefusedError():
            return _Cause("nothing listens there", START, passing=True)
        case FileNotFoundError():
            return _Cause("there is no such socket", START, passing=True)
        case PermissionError():
            return _Cause("this user may not use that socket", "let it: `unixsocketperm` and the socket's group")
        case ssl.SSLCertVerificationError():
            return _Cause(
                f"its certificate is not trusted ({error.verify_message})",
                "name its CA: rediss://...?ssl_ca_certs=/path/to/ca.pem",
            )
    return _stranger(server, error) if server.socket is None else _Cause(str(error), START, passing=True)


def _stranger(server: RedisServer, error: BaseException) -> _Cause:
    """What answers in the place of Redis, or of one that speaks otherwise."""
    address = (server.host, server.port)
    greeting = _greeting(address)
    if server.tls is not None and greeting[:1] in (b"+", b"-"):
        return _Cause("it speaks without TLS", "write redis://, or turn TLS on there")
    if greeting.startswith(b"HTTP/") or b"<html" in greeting.lower():
        return _Cause("a web server answers there, no Redis", "correct the port")
    if server.tls is None and _speaks_tls(address):
        return _Cause("it speaks TLS", "write rediss://")
    if greeting[:1] not in (b"", b"+", b"-"):
        return _Cause("something answers there that is no Redis", "correct the port")
    if isinstance(error, TimeoutError):
        return _Cause(f"no answer within {TIMEOUT:g} s", "see whether it is frozen", passing=True)
    return _Cause(f"it breaks the connection off ({type(error).__name__})", "see its log", passing=True)


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
