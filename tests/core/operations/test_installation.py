"""Two installations on one Redis, over databases of both kinds."""

from collections.abc import Iterator

import pytest

from core.operations.installation import KEY, Installations
from core.operations.preflight.installation import installation_mistake
from core.stores.database import Database
from core.stores.redis import Redis
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey


@pytest.fixture
def shared(own_valkey: Valkey) -> Iterator[Redis]:
    client = own_valkey.client()
    yield client
    client.close()


def test_one_installation_has_its_redis_for_itself(
    shared: Redis, own_valkey: Valkey, any_database: Database, any_database_url: str
) -> None:
    own = Installations(any_database, shared)
    for _ in range(2):  # as several workers do
        own.announce()
    assert not own.are_several()
    assert not own.is_anothers()
    assert installation_mistake(own_valkey.url, any_database_url) is None


def test_another_one_is_seen_by_both_until_it_has_gone(
    shared: Redis, own_valkey: Valkey, any_database: Database, any_database_url: str, postgres: Postgres
) -> None:
    url = postgres.create()
    database = Database(url)
    own, other = Installations(any_database, shared), Installations(database, shared)
    other.announce()
    mistake = str(installation_mistake(own_valkey.url, any_database_url))
    assert mistake == (
        f"REDIS_URL={own_valkey.url}: another installation uses it, whose database is another; name another database"
        " of it, as redis://host/1, or the DATABASE_URL of that installation"
    )
    assert installation_mistake(own_valkey.url, url) is None
    own.announce()
    assert own.is_anothers()
    assert other.is_anothers()
    assert own.are_several()
    other.withdraw()
    assert not own.are_several()
    # One that was killed has withdrawn nothing: it counts no longer, by Redis's clock.
    (now, _) = shared.time()
    shared.zadd(KEY, {"killed": int(now) - 1})
    assert not own.are_several()
    database.dispose()
    postgres.drop(url)
