"""The stores and the broker that the settings name, and what tries them."""

import sys

import click

from cli.configuration import read_settings
from core.operations.preflight.stores import Checks, find_mistakes, store_checks
from core.settings import Settings
from workers.brokers import broker_checks


def configured_stores(settings: Settings) -> Checks:
    """What tries each that is configured, and not of the system's own."""
    stores = store_checks(
        redis_url=settings.configured_redis_url and settings.redis_url,
        database_url=settings.configured_database_url and settings.database_url,
    )
    own_broker = settings.configured_broker_url not in (None, settings.configured_redis_url)
    return {**stores, **configured_broker(settings)} if own_broker else stores


def configured_broker(settings: Settings) -> Checks:
    """What tries the broker alone."""
    variable, url = settings.broker_variable, settings.broker_url
    return store_checks(broker_url=url, broker_variable=variable) or broker_checks(variable, url)


if __name__ == "__main__":  # as `up` tries them (cli/up.py)
    found = find_mistakes(configured_stores(read_settings()))
    for mistake in found[:1]:
        click.echo(str(mistake))
    sys.exit(bool(found))
