"""Sessions by the million, most of which live and many of which have expired, made by the databases themselves.

Every tenth session belongs to a user and has an answer and two messages; the others are guests'.
"""

import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import Any

import psycopg

from core.stores.redis import Redis

USERS = 1000
CHUNK = 500_000
"""Rows of one transaction."""
STEP = 1000
"""Sessions whose keys one script makes."""

_ID = """(lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
    || substr(md5(n::text), 4, 3) || substr(md5(n::text), 7, 12))::uuid"""
_USERS = """
    INSERT INTO "user" (id, email, created_at)
    SELECT md5('user ' || n)::uuid, n || '@example.org', now() FROM generate_series(0, %s::int) n"""
_SESSIONS = f"""
    INSERT INTO session (id, owner_id, secret_hash, last_model, version, created_at, expires_at, ends_at)
    SELECT {_ID}, CASE WHEN n %% 10 = 0 THEN md5('user ' || (n / 10) %% {USERS})::uuid END,
        CASE WHEN n %% 10 <> 0 THEN decode(md5(n::text) || md5(n::text), 'hex') END,
        'smollm2', 1, now(), now() + %(age)s::interval + n * interval '1 millisecond', now() + interval '1 year'
    FROM generate_series(%(first)s::int, %(last)s::int) n"""
_GENERATIONS = f"""
    INSERT INTO generation (id, session_id, model, state, attempt, lease_until, created_at, stop_requested)
    SELECT gen_random_uuid(), {_ID}, 'smollm2', 'done', 1, now(), now(), false
    FROM generate_series(%(first)s::int, %(last)s::int) n WHERE n %% 10 = 0"""
_MESSAGES = f"""
    INSERT INTO message (id, session_id, role, text, state, created_at)
    SELECT gen_random_uuid(), {_ID}, role, repeat('word ', 20), 'done', now()
    FROM generate_series(%(first)s::int, %(last)s::int) n,
        unnest(ARRAY['user', 'assistant']) role
    WHERE n %% 10 = 0"""
BARE = """
    DELETE FROM session
    WHERE id IN (SELECT id FROM session WHERE expires_at <= {now} ORDER BY expires_at LIMIT 500)"""
"""The least that a sweep can do: no outbox, no Redis, no lock that others respect."""

_REMEMBER = """
for _, id in ipairs(ARGV) do
  local prefix = 'sb:{' .. id .. '}:'
  redis.call('XADD', prefix .. 'log', '1-0', 'type', 'done', 'data', '{}')
  redis.call('HSET', prefix .. 'meta', 'epoch', '0a0a0a0a', 'offset', '1')
  redis.call('RPUSH', prefix .. 'words', string.rep('word ', 60))
end
"""


def fill_postgresql(database: "psycopg.Connection[Any]", living: int, *expired: int) -> None:
    """Add users, and sessions: those that live, and after them, for each number, as many that have expired, in this
    order."""
    # Who writes the table is watched in tests; here it would only cost time.
    database.execute("ALTER TABLE session DISABLE TRIGGER USER")
    database.execute(_USERS, [USERS - 1])
    first = 1
    for count, age in ((living, "1 day"), *((count, "-1 day") for count in expired)):
        for start in range(first, first + count, CHUNK):
            last = min(start + CHUNK, first + count) - 1
            for statement in (_SESSIONS, _GENERATIONS, _MESSAGES):
                database.execute(statement, {"first": start, "last": last, "age": age})
        first += count
    database.execute("VACUUM ANALYZE session, generation, message")


def fill_sqlite(database: sqlite3.Connection, count: int, age: str) -> None:
    """Add guests' sessions, all of about this age, such as `-1 day` for those that expired a day ago."""
    database.execute(
        "INSERT INTO session (id, secret_hash, last_model, version, created_at, expires_at, ends_at)"
        " WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)"
        " SELECT lower(hex(randomblob(16))), randomblob(32), 'smollm2', 1, datetime('now'),"
        " strftime('%Y-%m-%d %H:%M:%f000', 'now', ?, (n / 1000.0) || ' seconds'), datetime('now') FROM number",
        (count, age),
    )


def remember(redis: Redis, session_ids: Iterator[str]) -> int:
    """Give sessions what a guest's conversation leaves in Redis: three keys. Returns how many sessions."""
    script = redis.register_script(_REMEMBER)
    count = 0
    while some := list(islice(session_ids, STEP)):
        script(args=some)
        count += len(some)
    return count
