"""What keeps a broker that is no Redis from being used."""

import socket
import ssl
from typing import NamedTuple

from core.operations.preflight.mistake import Mistake, with_value
from core.operations.preflight.stores import Check
from core.stores.redis_url import is_redis
from core.text.characters import one_line
from core.text.masking import without_secrets

TIMEOUT = 2.0
"""Seconds to reach it, and for each answer."""


class _Cause(NamedTuple):
    wrong: str
    right: str
    passing: bool = False


def broker_checks(variable: str, url: str) -> dict[str, Check]:
    """What tries the broker at `url`, which the variable names, if it is no Redis (core/operations/preflight/)."""
    return {} if is_redis(url) else {with_value(variable, url): lambda: _mistake(variable, url)}


def _mistake(variable: str, url: str) -> Mistake | None:
    """Of a list of brokers, in which one stands in for another, one that can be used is enough."""
    found = [_mistake_of_one(variable, each) for each in url.split(";")]
    return found[0] if all(found) else None


def _mistake_of_one(variable: str, url: str) -> Mistake | None:
    from kombu.connection import Connection

    import celery_config  # noqa: F401  our transports, whose names of timeouts these are

    options = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
    try:
        with Connection(url, connect_timeout=TIMEOUT, transport_options=options) as connection:
            transport = connection.transport
            transport.close_connection(transport.establish_connection())
            return None
    except Exception as error:  # every transport has errors of its own
        cause = _cause(error)
    wrong = one_line(without_secrets(cause.wrong, url))
    return Mistake(with_value(variable, url), wrong, cause.right, cause.passing)


def _cause(error: Exception) -> _Cause:
    match error:
        case socket.gaierror():
            return _Cause("no address is known for its host", "correct the name", passing=True)
        case ConnectionRefusedError():
            return _Cause("nothing listens there", "start it, or correct the address", passing=True)
        case ssl.SSLError():
            return _Cause(f"TLS fails ({error.reason})", "write amqp:// or amqps://, as it speaks; correct its port")
        case TimeoutError():
            return _Cause(f"no answer within {TIMEOUT:g} s", "is it a RabbitMQ that listens there?", passing=True)
        case ImportError():
            return _Cause(f"{error.name} is not installed", "install it, or take redis:// or amqp://")
        case KeyError():
            return _Cause("there is no such kind of broker", "write redis:// or amqp://")
    match type(error).__name__:  # AMQP's own, by its codes
        case "AccessRefused":
            return _Cause("it refuses the user or the password", "correct them: amqp://user:password@host:5672//")
        case "NotAllowed":
            return _Cause(
                "it has no such virtual host, or not for this user", "correct it: amqp://...@host:5672/NAME"
            )
    return _Cause(f"{type(error).__name__}: {error}", "see its log", passing=True)
