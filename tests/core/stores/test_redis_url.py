"""One reading of a Redis URL, for redis-py and for kombu, against real servers."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.connection import Connection
from redis import Redis
from redis.exceptions import RedisError

from broker.causes import BrokerAway
from core.settings import Settings
from core.stores.redis_url import RedisServer, socket_url
from tests.support.tls_proxy import tls_before
from tests.support.valkey import Valkey
from web.monitoring.queue_lengths import Queues

PASSWORD = "p@ss:w/ört;100%?#&"
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


def reaches(url: str, queue: str = "sessions") -> int:
    """How many messages kombu finds in the queue. Raises what kombu raises."""
    with Connection(url, transport_options={"max_retries": 0, "socket_timeout": 5}) as connection:
        length: int = connection.default_channel.client.llen(queue)
        return length


@pytest.fixture
def tls(own_valkey: Valkey, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a server whose certificate is not trusted, and that certificate."""
    with tls_before(own_valkey.socket, tmp_path) as server:
        yield server


def settings(url: str) -> Settings:
    """The options of a process with this Redis, which is its broker too."""
    return Settings(configured_redis_url=url)


def test_a_server_that_is_not_to_be_trusted_gets_no_word(tls: tuple[int, Path]) -> None:
    options = settings(f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{tls[0]}/0")
    with pytest.raises(RedisError, match="CERTIFICATE_VERIFY_FAILED"):
        Redis.from_url(options.redis_url).ping()
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        reaches(options.broker_url)
    with pytest.raises(BrokerAway) as away:
        Queues(options.broker_url).lengths(["sessions"])
    assert "CERTIFICATE_VERIFY_FAILED" in away.value.reason


@pytest.mark.parametrize("trust", ["ssl_ca_certs={ca}", "ssl_cert_reqs=none", "ssl_cert_reqs=CERT_NONE"])
def test_one_that_is_is_spoken_to_by_both(tls: tuple[int, Path], own_valkey: Valkey, trust: str) -> None:
    own_valkey.client().rpush("sessions", "a message")
    options = settings(f"rediss://127.0.0.1:{tls[0]}/0?{trust.format(ca=quote(str(tls[1])))}")
    assert Redis.from_url(options.redis_url).llen("sessions") == 1
    assert reaches(options.broker_url) == 1


def test_a_certificate_of_another_host_is_none(tls: tuple[int, Path]) -> None:
    other = f"rediss://127.1:{tls[0]}/0?ssl_ca_certs={quote(str(tls[1]))}"
    for url in (settings(other).broker_url, settings(f"{other}&ssl_check_hostname=true").broker_url):
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            reaches(url)
    assert reaches(settings(f"{other}&ssl_check_hostname=no").broker_url) == 0


@pytest.mark.parametrize(
    "spelling",
    [
        "unix://{path}?db=3&password={password}",
        "unix://{path}?virtual_host=3&username=default&password={password}",
        "unix://:{password}@{path}?db=3",
        "unix://default:{password}@{path}?virtual_host=3",
        "redis+socket://:{password}@{path}?virtual_host=3",
        "redis+socket://{path}?db=3&username=default&password={password}",
    ],
)
def test_a_unix_socket_has_a_user_a_password_and_a_database(own_valkey: Valkey, spelling: str) -> None:
    own_valkey.client().config_set("requirepass", PASSWORD)
    url = spelling.format(path=own_valkey.socket, password=quote(PASSWORD, safe=""))
    Redis(unix_socket_path=str(own_valkey.socket), password=PASSWORD, db=3).rpush("sessions", "a message")
    options = settings(url)
    assert Redis.from_url(options.redis_url).llen("sessions") == 1
    assert reaches(options.broker_url) == 1
    assert Queues(options.broker_url).lengths(["sessions"]) == {"sessions": 1}
    # Also where it is only the broker.
    assert reaches(Settings(configured_broker_url=url).broker_url) == 1


@given(TEXT, TEXT, st.integers(0, 99))
def test_whatever_a_password_and_a_path_are_made_of_arrives(password: str, name: str, db: int) -> None:
    server = RedisServer(socket=f"/{name}", username="u", password=password, db=db)
    assert RedisServer.parse(server.redis_url) == server
    assert RedisServer.parse(server.broker_url) == server
    assert RedisServer.parse(socket_url(f"/{name}")).socket == f"/{name}"
    group = RedisServer(
        sentinels=(("one", 1), ("::1", 26379)),
        master="main",
        username="u",
        password=password,
        sentinel_password=password,
        db=db,
        tls=(("ssl_check_hostname", "false"),),
    )
    assert RedisServer.parse(group.redis_url) == RedisServer.parse(group.broker_url) == group
    far = RedisServer(host="cache.example", port=1, username="u", password=password, db=db, tls=())
    assert RedisServer.parse(far.redis_url) == far


def test_the_deadlines_are_the_codes_own() -> None:
    assert settings("redis://cache?socket_timeout=600&db=2").redis_url == "redis://cache:6379/2"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://cache", "begins with none of redis://, rediss://, unix://"),
        ("cache:6379", "begins with none of"),
        ("redis://:hunter2/secret@cache", "in a password / is written %2F"),
        ("redis://cache:hunter2", "the port is not a number"),
        ("redis://:hun#ter2@cache", "%23"),
        ("redis://[cache", "brackets"),
        ("redis://cache/zero", "the database (db) is not a number"),
        ("redis://cache?db=-1", "the database (db) is not a number"),
        ("redis://cache?hunter2=1", "an option that is not known"),
        ("redis://cache?ssl_cert_reqs=none", "ssl_cert_reqs is for rediss:// and sentinels://"),
        ("sentinel://one,two:26379", "it names no master: sentinel://one:26379,two:26379/MASTER"),
        ("sentinel://one,:26379/main", "a sentinel's host is missing"),
        ("sentinel://one,two:hunter2/main", "the port is not a number"),
        ("redis+cluster://one", "Redis Cluster is not supported"),
        ("rediss://cache?ssl_cert_reqs=hunter2", "ssl_cert_reqs is none of"),
        ("unix://tmp/valkey.sock", "a third slash"),
    ],
)
def test_what_is_wrong_is_named_without_quoting(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match="Value error") as raised:
        settings(url)
    assert complaint in str(raised.value)
    assert "hunter2" not in str(raised.value)
