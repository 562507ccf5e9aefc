"""The stores and the broker that the settings name, and what tries them."""

from cli.brokers import other_broker_mistake
from core.operations.preflight.mistake import Mistake, with_value
from core.operations.preflight.redis import redis_mistake
from core.operations.preflight.stores import Checks, store_checks
from core.settings import Settings
from core.stores.redis_url import RedisServer, is_redis


def configured_stores(settings: Settings) -> Checks:
    """What tries each that is configured, and not of the system's own."""
    checks = store_checks(
        redis_url=settings.configured_redis_url and settings.redis_url,
        database_url=settings.configured_database_url and settings.database_url,
    )
    if settings.configured_broker_url is not None and settings.configured_broker_url != settings.configured_redis_url:
        checks[with_value("BROKER_URL", settings.broker_url)] = lambda: broker_mistake(settings)
    return checks


def broker_mistake(settings: Settings) -> Mistake | None:
    """What keeps the broker from being used, or None."""
    url = settings.broker_url
    if not is_redis(url):
        return other_broker_mistake(url)
    return redis_mistake(settings.broker_variable, RedisServer.parse(url).redis_url)
