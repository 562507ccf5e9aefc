"""Queries of sessions, each with a transaction of its own, on both databases."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from core.errors import NotOwner, SessionInvalid, TooManySessions, Unavailable
from core.runtime import Runtime
from core.secret import digest, new_secret
from core.settings import Settings
from tests.conftest import new_user

ROOM = 3


@pytest.fixture
def runtime(settings: Settings, any_database_url: str) -> Iterator[Runtime]:
    """A process's services, for users of whom each may have few sessions."""
    options = {"configured_database_url": any_database_url, "sessions_per_user": ROOM}
    runtime = Runtime(settings.model_copy(update=options))
    yield runtime
    runtime.close()


def _owned(runtime: Runtime, user_id: UUID) -> UUID:
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(db, user_id, session_id=uuid7()).id


def test_a_session_is_validated_by_its_owner_or_its_secret(runtime: Runtime) -> None:
    user_id, other, secret_hash = new_user(runtime.database), new_user(runtime.database), digest(new_secret())
    owned = _owned(runtime, user_id)
    with runtime.database.writing() as db:
        anonymous = runtime.sessions.create_session(db, session_id=uuid7(), secret_hash=secret_hash).id
    queries = runtime.session_queries
    assert queries.validate_session(owned, user_id, None).owner_id == user_id
    assert queries.validate_session(anonymous, None, secret_hash).anonymous
    with pytest.raises(NotOwner):
        queries.validate_session(owned, other, None)
    with pytest.raises(SessionInvalid):
        queries.validate_session(anonymous, user_id, digest(new_secret()))


def test_a_session_is_found_without_a_proof_and_stays_readable_after_its_transaction(runtime: Runtime) -> None:
    user_id = new_user(runtime.database)
    found = runtime.session_queries.find_session(_owned(runtime, user_id))
    assert found is not None
    assert (found.owner_id, found.version, found.title) == (user_id, 1, None)
    assert runtime.session_queries.find_session(uuid7()) is None


def test_a_users_sessions_are_listed_newest_first_and_counted(runtime: Runtime) -> None:
    user_id, queries = new_user(runtime.database), runtime.session_queries
    made = [_owned(runtime, user_id) for _ in range(ROOM - 1)]
    queries.require_room(user_id)
    made.append(_owned(runtime, user_id))
    with pytest.raises(TooManySessions):
        queries.require_room(user_id)
    listed = queries.list_sessions(user_id, before=None, limit=10)
    assert [each.session.id for each in listed] == sorted(made, reverse=True)
    (second,) = queries.list_sessions(user_id, before=listed[0].place, limit=1)
    assert second.session.id == made[-2]
    queries.require_room(new_user(runtime.database))


def test_without_a_database_every_query_says_so(settings: Settings) -> None:
    runtime = Runtime(settings.model_copy(update={"configured_database_url": "postgresql://nobody@127.0.0.1:1/none"}))
    queries = runtime.session_queries
    for ask in (
        queries.require_database,
        lambda: queries.find_session(uuid7()),
        lambda: queries.require_room(uuid7()),
        lambda: queries.list_sessions(uuid7(), before=None, limit=1),
        lambda: queries.validate_session(uuid7(), None, b""),
    ):
        with pytest.raises(Unavailable):
            ask()
    runtime.close()
