"""What keeps a broker that is no Redis from being used."""

from typing import Any

from broker.causes import cause_of
from broker.taking import require_taking
from core.operations.preflight.mistake import Mistake, with_value
from core.operations.preflight.stores import Check
from core.stores.redis_url import is_redis
from core.text.characters import one_line
from core.text.masking import without_secrets

TIMEOUT = 2.0
"""Seconds to reach it, and for each answer."""


def broker_checks(variable: str, url: str) -> dict[str, Check]:
    """What tries the broker at `url`, which the variable names, if it is no Redis (core/operations/preflight/)."""
    return {} if is_redis(url) else {with_value(variable, url): lambda: _mistake(variable, url)}


def _mistake(variable: str, url: str) -> Mistake | None:
    """Of a list of brokers, in which one stands in for another, one that can be used is enough."""
    found = [_mistake_of_one(variable, each) for each in url.split(";")]
    return found[0] if all(found) else None


def _mistake_of_one(variable: str, url: str) -> Mistake | None:
    from kombu.connection import Connection

    from celery_config import QueueNames  # with our transports, whose names of timeouts these are

    options = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
    try:
        with Connection(url, connect_timeout=TIMEOUT, transport_options=options) as connection:
            _try(connection.transport, QueueNames.SESSIONS)
            return None
    except Exception as error:  # every transport has errors of its own
        cause = cause_of(error, TIMEOUT)
    wrong = one_line(without_secrets(cause.wrong, url))
    return Mistake(with_value(variable, url), wrong, cause.right, cause.passing)


def _try(transport: Any, exchange: str) -> None:
    connected = transport.establish_connection()
    try:
        if transport.driver_type == "amqp":
            require_taking(connected.channel(), exchange)
    finally:
        transport.close_connection(connected)
