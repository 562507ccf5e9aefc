"""Stores that can't be used, each a real one: what the operator is told of it, in one line and in time."""

import http.server
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from cli.console import CommandError
from cli.migration import migrate_database
from core.operations.preflight.clock import database_clock_mistake, redis_clock_mistake
from core.operations.preflight.database import database_mistake
from core.operations.preflight.redis import redis_mistake
from core.operations.preflight.stores import DEADLINE, find_mistakes, require_stores, store_checks
from core.stores.redis import RedisUnavailable, connect
from core.stores.revisions import newest_revision
from tests.support.cable import Cable
from tests.support.full_disk import small_disk
from tests.support.postgres import Postgres
from tests.support.tls_proxy import tls_before
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.support.web_process import free_port

NOWHERE = "redis://:hunter2@127.0.0.1:1/0"


@pytest.fixture(scope="module")
def web_port() -> Iterator[int]:
    """Of a web server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def redis_port(own_valkey: Valkey) -> int:
    """Of a Valkey that wants a password."""
    client, port = own_valkey.client(), free_port()
    client.config_set("port", port)
    client.config_set("requirepass", "sesame")
    return port


def redis_line(url: str) -> str:
    """What is said of a Redis, without its password and within seconds."""
    began = time.monotonic()
    mistake = redis_mistake("REDIS_URL", url)
    assert time.monotonic() - began < DEADLINE
    assert mistake is not None
    assert "hunter2" not in str(mistake)
    assert "\n" not in str(mistake)
    return str(mistake)


def test_a_redis_that_is_away_may_come_back() -> None:
    mistake = redis_mistake("REDIS_URL", NOWHERE)
    assert mistake is not None
    assert mistake.passing
    assert str(mistake) == (
        "REDIS_URL=redis://:***@127.0.0.1:1/0: nothing listens there; start it, or correct the address"
    )
    assert "no address is known for cache.invalid" in redis_line("redis://cache.invalid")
    assert "there is no such socket" in redis_line("unix:///nowhere/valkey.sock")


@pytest.mark.parametrize("rules", ["resetchannels", "-publish", "-subscribe", "-psubscribe", "-brpop", "-@blocking"])
def test_a_redis_user_that_may_not_all_that_is_done_is_told_which_rules_it_needs(
    own_valkey: Valkey, rules: str
) -> None:
    client = own_valkey.client()
    client.execute_command("ACL", "SETUSER", "app", "on", ">hunter2", "+@all", "~*", "&*", *rules.split())
    url = own_valkey.url.replace("unix://", "unix://app:hunter2@")
    assert redis_line(url).endswith("; allow it all: ACL SETUSER <user> +@all ~* &*")
    client.close()


def test_a_redis_without_a_connection_left_says_so(own_valkey: Valkey) -> None:
    with closing(own_valkey.client()) as client:
        port = free_port()
        client.config_set("port", port)
        client.config_set("maxclients", 1)
        for url in (own_valkey.url, f"redis://127.0.0.1:{port}"):
            assert redis_line(url).endswith(": it has no connection left; raise its maxclients")
            with pytest.raises(RedisUnavailable) as refused:
                connect(url).ping()
            assert refused.value.reason in (
                "this Redis has no connection left (its maxclients)",
                "ConnectionError",  # where it has closed the connection before it was told
            )
        client.config_set("maxclients", 100)


def test_a_redis_that_takes_no_writes_says_why(own_valkey: Valkey) -> None:
    own_valkey.fill()
    assert redis_line(own_valkey.url).endswith(
        ": it is out of memory, and takes no writes; raise its maxmemory, or find what fills it"
    )
    own_valkey.empty()
    assert redis_mistake("REDIS_URL", own_valkey.url) is None
    with closing(own_valkey.client()) as client:
        client.config_set("min-replicas-to-write", 1)
        assert ": it has too few replicas, and takes no writes; start them" in redis_line(own_valkey.url)
        client.config_set("min-replicas-to-write", 0)
        client.replicaof("127.0.0.1", 1)
        assert redis_line(own_valkey.url).endswith(": it is a read-only replica; name the primary")


def test_a_redis_that_evicts_is_said_and_nothing_keeps_a_process_from_running(
    own_valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(own_valkey.client()) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    checks = store_checks(redis_url=own_valkey.url)
    assert find_mistakes(checks) == []
    require_stores(checks)
    assert capsys.readouterr().err == (
        f"switchboard: REDIS_URL={own_valkey.url}: its maxmemory-policy is allkeys-lru: queues and conversations"
        " vanish when it is full; set it: CONFIG SET maxmemory-policy noeviction\n"
    )


def test_a_redis_whose_disk_is_full_says_so(short_directory: Path) -> None:
    with small_disk(short_directory / "disk", "1m") as disk:
        server = Valkey(disk.path)
        client = server.client()
        disk.fill()
        with suppress(RedisUnavailable):
            for number in range(100):
                client.set(f"key-{number}", "x" * 10_000)
        wait_for(lambda: client.info("persistence")["aof_last_write_status"] != "ok", what="a write has failed")
        assert redis_line(server.url).endswith(
            "it can't write to its disk, and takes no writes (No space left on device); free some of that disk"
        )
        client.close()
        server.stop()
    (short_directory / "disk").rmdir()


def test_what_is_no_redis_is_named(web_port: int, silent_port: int) -> None:
    for scheme in ("redis", "rediss"):
        assert "a web server answers there, no Redis; correct the port" in redis_line(
            f"{scheme}://127.0.0.1:{web_port}"
        )
    assert "no answer within 2 s" in redis_line(f"redis://127.0.0.1:{silent_port}")


def test_a_redis_that_refuses_says_why(redis_port: int, own_valkey: Valkey) -> None:
    right = f"redis://:sesame@127.0.0.1:{redis_port}"
    assert redis_mistake("REDIS_URL", right) is None
    assert "it wants a password; correct them: redis://user:" in redis_line(f"redis://127.0.0.1:{redis_port}")
    assert "it refuses the user or the password" in redis_line(f"redis://:hunter2@127.0.0.1:{redis_port}")
    assert "it has no database 99; take one" in redis_line(f"{right}/99")
    assert "it speaks without TLS; write redis://" in redis_line(f"rediss://:sesame@127.0.0.1:{redis_port}")
    client = connect(right)
    client.execute_command("ACL", "SETUSER", "weak", "on", ">hunter2", "+ping", "~*")
    assert "allow it all: ACL SETUSER" in redis_line(f"redis://weak:hunter2@127.0.0.1:{redis_port}")
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    assert "it is a read-only replica; name the primary" in redis_line(right)


def test_tls_and_its_certificate_are_told_apart(own_valkey: Valkey, tmp_path: Path) -> None:
    with tls_before(own_valkey.socket, tmp_path) as (port, certificate):
        assert "it speaks TLS; write rediss://" in redis_line(f"redis://127.0.0.1:{port}")
        untrusted = redis_line(f"rediss://127.0.0.1:{port}")
        assert "its certificate is not trusted (self-signed certificate); name its CA: " in untrusted
        assert redis_mistake("REDIS_URL", f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}") is None


def database_line(url: str) -> str:
    """What is said of a database."""
    began = time.monotonic()
    mistake = database_mistake(url)
    assert time.monotonic() - began < DEADLINE
    assert mistake is not None
    assert "hunter2" not in str(mistake)
    assert "\n" not in str(mistake)
    return str(mistake)


def test_a_postgresql_user_without_rights_is_told_which_it_lacks(own_postgres: Postgres) -> None:
    url, empty = own_postgres.create(), own_postgres.create_empty()
    name = str(make_url(url).database)
    own_postgres.execute("CREATE ROLE app NOLOGIN")

    def as_app(url: str) -> str:
        return make_url(url).set(username="app").render_as_string(hide_password=False)

    def refused() -> str:
        return database_line(as_app(url))

    assert refused().endswith("app may not log in; let it: ALTER ROLE app LOGIN")
    own_postgres.execute("ALTER ROLE app LOGIN", f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    assert f"its user may not use the database {name}; GRANT it that" in refused()
    own_postgres.execute(f"GRANT CONNECT ON DATABASE {name} TO app", "ALTER ROLE app CONNECTION LIMIT 0")
    assert refused().endswith("the role app has no connection left; raise its CONNECTION LIMIT")
    own_postgres.execute("ALTER ROLE app CONNECTION LIMIT -1")
    assert "its user may not read and write alembic_version, api_key, audit_event and " in refused()
    assert refused().endswith("; GRANT it that, or name the user who owns the database")
    own_postgres.execute(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app",
        "REVOKE DELETE ON session FROM app",
        database=name,
    )
    assert "its user may not read and write message_words_number_seq, session; GRANT it that" in refused()
    own_postgres.execute(
        "GRANT DELETE ON session TO app", "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app", database=name
    )
    assert database_mistake(as_app(url)) is None
    with pytest.raises(CommandError, match="its user may not use schema public; GRANT it that"):
        migrate_database(as_app(empty))


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_postgresql_that_has_not_every_character_is_refused(own_postgres: Postgres, encoding: str) -> None:
    url = own_postgres.create()
    name = f"old_{encoding.lower()}"
    own_postgres.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    old = make_url(url).set(database=name).render_as_string(hide_password=False)
    line = database_line(old)
    assert f": its encoding is {encoding}, which has not every character; make it anew: CREATE DATABASE" in line
    with pytest.raises(CommandError, match=f"its encoding is {encoding}"):
        migrate_database(old)


def test_a_postgresql_that_refuses_says_why(own_postgres: Postgres, silent_port: int) -> None:
    url = own_postgres.create()
    with closing(Cable(own_postgres)) as cable:
        far = make_url(cable.url(url))

        def changed(**parts: object) -> str:
            return far.set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type]

        assert database_mistake(changed()) is None
        assert "it has no database nope; make it" in database_line(changed(database="nope"))
        assert "it knows no user bob; make it" in database_line(changed(username="bob"))
        assert "nothing listens there; start the server" in database_line(changed(port=1, password="hunter2"))
        assert "no address is known for db.invalid; correct" in database_line(changed(host="db.invalid"))
        assert "it speaks without TLS" in database_line(f"{changed()}?sslmode=require")
        assert "no answer within 3 s" in database_line(changed(port=silent_port))
        hba = own_postgres.socket.parent / "pg_hba.conf"
        hba.write_text("local all alice scram-sha-256\nlocal all postgres trust\n")
        engine = create_engine(url)
        with engine.begin() as db:
            db.execute(text("CREATE ROLE alice SUPERUSER LOGIN PASSWORD 'sesame'; CREATE ROLE bob LOGIN"))
            db.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        wait_for(lambda: "it refuses this machine or user" in database_line(changed(username="bob")), what="reloaded")
        assert database_mistake(changed(username="alice", password="sesame")) is None
        refused = database_line(changed(username="alice", password="hunter2"))
        assert "it refuses the password of alice; correct it" in refused
        assert "it wants a password; write postgresql://user:" in database_line(changed(username="alice"))


def test_a_file_that_can_be_no_database_is_named(tmp_path: Path) -> None:
    assert database_mistake(f"sqlite:///{tmp_path}/new.db") is None
    assert not (tmp_path / "new.db").exists()
    sqlite3.connect(tmp_path / "old.db").close()
    assert database_mistake(f"sqlite:///{tmp_path}/old.db") is None
    assert f"there is no directory {tmp_path}/no/where; make it" in database_line(
        f"sqlite:///{tmp_path}/no/where/a.db"
    )
    assert "it is a directory; name a file in it" in database_line(f"sqlite:///{tmp_path}")
    (tmp_path / "junk.db").write_text("x" * 5000)
    assert "file is not a database" in database_line(f"sqlite:///{tmp_path}/junk.db")
    assert "another one in each process" in database_line("sqlite://")


def test_a_process_waits_for_what_may_pass_and_ends_with_the_rest(
    capsys: pytest.CaptureFixture[str], valkey: Valkey, web_port: int, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path}/new.db"
    require_stores(store_checks(redis_url=valkey.url, broker_url=valkey.url, database_url=database))
    assert capsys.readouterr().err == ""
    require_stores(store_checks(redis_url=NOWHERE, broker_url=NOWHERE, database_url=database))
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit, match=r"switchboard: BROKER_URL=redis://127\.0\.0\.1.*a web server answers there"):
        require_stores(store_checks(redis_url=NOWHERE, broker_url=f"redis://127.0.0.1:{web_port}"))


def test_a_process_says_that_the_database_is_not_migrated_and_waits(
    capsys: pytest.CaptureFixture[str], postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    empty = postgres.create_empty()
    for url, state in (
        (f"sqlite:///{tmp_path}/new.db", "there is no such file yet"),
        (empty, f"it is empty, and not migrated to this version's revision {newest_revision()}"),
    ):
        require_stores(store_checks(database_url=url, migrated=True))
        assert f": {state}; run: switchboard migrate; trying again\n" in capsys.readouterr().err
    assert not (tmp_path / "new.db").exists()
    require_stores(store_checks(database_url=postgres_url, migrated=True))
    assert capsys.readouterr().err == ""


def test_what_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.operations.preflight.stores.DEADLINE", 0.2)
    over = threading.Event()

    def hang() -> None:
        over.wait(10)

    (mistake,) = find_mistakes({"REDIS_URL=redis://cache": hang})
    over.set()
    assert str(mistake).startswith("REDIS_URL=redis://cache: no answer within 0.2 s; ")


@pytest.mark.parametrize(("minutes", "said"), [(-1, "60 s behind that"), (1, "60 s ahead of that"), (0, None)])
def test_clocks_that_differ_are_named(valkey: Valkey, postgres_url: str, minutes: int, said: str | None) -> None:
    def now() -> float:
        return time.time() + 60 * minutes

    checks: list[Callable[[], object]] = [
        lambda: redis_clock_mistake(valkey.url, now),
        lambda: database_clock_mistake(postgres_url, now),
    ]
    for check in checks:
        mistake = check()
        assert (said in str(mistake)) if said else mistake is None
    assert redis_clock_mistake(NOWHERE, now) is None
