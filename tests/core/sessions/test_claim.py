"""Owned sessions: their words in SQL, and how an anonymous session comes to have an owner."""

import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update

from core.conversation.keys import keys
from core.errors import GenerationInProgress, NotOwner, SessionInvalid, SwitchboardError
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.sessions.listing import Place
from core.stores import tables
from tests.conftest import new_user
from tests.support.provider import ANSWER, ProviderServer
from tests.support.waiting import wait_for


@pytest.fixture(params=["sqlite", "postgresql"])
def runtime(settings: Any, request: pytest.FixtureRequest) -> Any:
    """The parts of a process, on both databases."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        settings = settings.model_copy(update={"configured_database_url": url})
        settings.__dict__.pop("database_url", None)
    parts = Runtime(settings)
    yield parts
    parts.close()


def _create(runtime: Runtime, owner: UUID | None = None) -> tuple[tables.Session, Credential]:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db, owner, session_id=credential.session_id, secret_hash=None if owner else credential.secret_hash
        )
    return session, credential


def _talk(runtime: Runtime, session: tables.Session, message: str) -> None:
    runtime.generations.accept(session, message)
    runtime.writer.run()


def _words(runtime: Runtime, session: tables.Session) -> list[tuple[str, str, str]]:
    return [(each.role, each.text, each.state) for each in runtime.transcript.read(session).messages]


def test_the_words_of_an_owned_session_are_in_sql_only(runtime: Runtime) -> None:
    session, _ = _create(runtime, new_user(runtime.database))
    _talk(runtime, session, "Why?")
    _talk(runtime, session, "And?")
    assert _words(runtime, session) == [
        ("user", "Why?", "complete"),
        ("assistant", ANSWER, "complete"),
        ("user", "And?", "complete"),
        ("assistant", ANSWER, "complete"),
    ]
    assert not runtime.redis.exists(keys(session.id)[3])
    # ... and they outlive the log.
    runtime.redis.flushall()
    assert len(_words(runtime, session)) == 4


def test_an_owned_session_is_called_after_its_first_message(runtime: Runtime) -> None:
    session, _ = _create(runtime, new_user(runtime.database))
    _talk(runtime, session, "Why  is\nthe sky blue? " + "x" * 100)
    _talk(runtime, session, "And?")
    with runtime.database.reading() as db:
        title = db.get_one(tables.Session, session.id).title
    assert title is not None
    assert title.startswith("Why is the sky blue? xxx")
    assert len(title) == 60


def test_an_unfinished_answer_of_an_owned_session_goes_with_its_cursor(
    runtime: Runtime, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    session, _ = _create(runtime, new_user(runtime.database))
    with runtime.database.writing() as db:
        session = runtime.sessions.switch_model(session.id, "paused", db, session.owner_id)
    accepted = runtime.generations.accept(session, "Why?")
    writer = threading.Thread(target=runtime.writer.run)
    writer.start()
    wait_for(lambda: runtime.transcript.written(session.id, accepted.generation_id).text.startswith("Wait."))
    assert _words(runtime, session)[-1][2] == "streaming"
    provider.go_on.set()
    writer.join()
    assert [state for _, _, state in _words(runtime, session)] == ["complete", "complete"]


def test_a_failed_answer_keeps_what_had_come(runtime: Runtime) -> None:
    session, _ = _create(runtime, new_user(runtime.database))
    with runtime.database.writing() as db:
        session = runtime.sessions.switch_model(session.id, "cut", db, session.owner_id)
    _talk(runtime, session, "Why?")
    assert _words(runtime, session)[-1] == ("assistant", "Half an ", "failed")


def test_a_claim_moves_the_words_and_kills_the_secret(runtime: Runtime, tmp_path: Path) -> None:
    user = new_user(runtime.database)
    session, credential = _create(runtime)
    _talk(runtime, session, "Why?")
    before = runtime.transcript.read(session)

    claimed = runtime.actions.claim(session, user)

    assert (claimed.owner_id, claimed.secret_hash) == (user, None)
    assert claimed.ends_at > session.ends_at
    assert runtime.transcript.read(claimed).messages == before.messages
    assert not runtime.redis.exists(keys(session.id)[3])
    with runtime.database.reading() as db, pytest.raises(NotOwner):
        runtime.sessions.validate_session(session.id, db, require_valid=True, secret_hash=credential.secret_hash)
    # A reader in the middle of the log goes on undisturbed.
    _talk(runtime, claimed, "And?")
    assert runtime.log.read(session.id, after=0).epoch == (before.cursor.epoch if before.cursor else None)
    assert [text for _, text, _ in _words(runtime, claimed)] == ["Why?", ANSWER, "And?", ANSWER]


def test_a_claim_is_for_once(runtime: Runtime) -> None:
    session, _ = _create(runtime)
    runtime.actions.claim(session, new_user(runtime.database))
    with pytest.raises(NotOwner):
        runtime.actions.claim(session, new_user(runtime.database))


def test_a_claim_needs_the_secret(runtime: Runtime) -> None:
    session, _ = _create(runtime)
    user = new_user(runtime.database)
    with runtime.database.writing() as db, pytest.raises(SessionInvalid):
        runtime.sessions.claim_session(session.id, db, user, secret_hash=b"x" * 32)


def test_of_racing_claimants_one_wins(runtime: Runtime) -> None:
    session, _ = _create(runtime)
    _talk(runtime, session, "Why?")
    users = [new_user(runtime.database) for _ in range(6)]
    start = threading.Barrier(len(users))
    won: list[UUID] = []
    lost: list[SwitchboardError] = []

    def race(user: UUID) -> None:
        start.wait()
        try:
            won.append(runtime.actions.claim(session, user).owner_id)  # type: ignore[arg-type]
        except SwitchboardError as error:
            lost.append(error)

    racers = [threading.Thread(target=race, args=(user,)) for user in users]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1
    assert {type(error) for error in lost} <= {NotOwner, SessionInvalid}
    with runtime.database.reading() as db:
        assert db.get_one(tables.Session, session.id).owner_id == won[0]
        assert len(db.scalars(select(tables.Message)).all()) == 2


def test_a_session_is_not_claimed_in_mid_answer(runtime: Runtime, provider: ProviderServer) -> None:
    user = new_user(runtime.database)
    session, _ = _create(runtime)
    runtime.generations.accept(session, "Why?")
    with pytest.raises(GenerationInProgress):
        runtime.actions.claim(session, user)
    runtime.writer.run()
    claimed = runtime.actions.claim(session, user)
    assert [text for _, text, _ in _words(runtime, claimed)] == ["Why?", ANSWER]


def test_an_answer_whose_end_nobody_could_tell_does_not_keep_a_session_from_being_claimed(runtime: Runtime) -> None:
    user = new_user(runtime.database)
    session, _ = _create(runtime)
    _talk(runtime, session, "Why?")
    accepted = runtime.generations.accept(session, "And why that?")
    runtime.redis.delete(*keys(session.id)[:3])  # Redis has lost the log, but not the words before
    runtime.redis.rpop(keys(session.id)[3])
    runtime.admission.retract(accepted.generation_id)
    claimed = runtime.actions.claim(session, user)
    assert [text for _, text, _ in _words(runtime, claimed)] == ["Why?", ANSWER]


def test_an_end_that_can_not_be_published_does_not_keep_a_session_from_being_claimed(runtime: Runtime) -> None:
    session, _ = _create(runtime)
    _talk(runtime, session, "Why?")
    _talk(runtime, session, "And?")
    # JSON that both databases take, and that Python refuses to decode.
    poison = update(tables.Generation).values(unpublished=text("'" + "[" * 5000 + "]" * 5000 + "'"))
    with runtime.database.writing() as db:
        db.execute(poison.where(tables.Generation.session_id == session.id))
    claimed = runtime.actions.claim(session, new_user(runtime.database))
    assert [text for _, text, _ in _words(runtime, claimed)] == ["Why?", ANSWER, "And?", ANSWER]


def test_an_end_that_is_not_published_yet_is_published_by_a_claim(runtime: Runtime) -> None:
    session, _ = _create(runtime)
    _talk(runtime, session, "Why?")
    with runtime.database.writing() as db:
        db.execute(update(tables.Generation).values(unpublished={"length": len(ANSWER)}))
    claimed = runtime.actions.claim(session, new_user(runtime.database))
    assert [text for _, text, _ in _words(runtime, claimed)] == ["Why?", ANSWER]
    with runtime.database.reading() as db:
        assert db.scalar(select(tables.Generation.unpublished)) is None


def test_a_message_that_races_a_claim_is_refused_or_kept_never_lost(runtime: Runtime) -> None:
    for _ in range(5):
        user = new_user(runtime.database)
        session, _ = _create(runtime)
        start = threading.Barrier(2)
        taken: list[bool] = []

        def send(
            session: tables.Session = session, start: threading.Barrier = start, taken: list[bool] = taken
        ) -> None:
            start.wait()
            try:
                _talk(runtime, session, "Why?")
                taken.append(True)
            except SessionInvalid:
                taken.append(False)

        sender = threading.Thread(target=send)
        sender.start()
        start.wait()
        while True:
            try:
                claimed = runtime.actions.claim(session, user)
                break
            except GenerationInProgress:
                continue
        sender.join()
        assert [text for _, text, _ in _words(runtime, claimed)] == (["Why?", ANSWER] if taken == [True] else [])


def test_lists_are_of_ones_own_newest_first_in_pages(runtime: Runtime) -> None:
    user = new_user(runtime.database)
    mine = [_create(runtime, user)[0].id for _ in range(5)]
    _create(runtime, new_user(runtime.database))
    _create(runtime)
    with runtime.database.reading() as db:
        first = runtime.sessions.list_sessions(user, db, limit=3)
        rest = runtime.sessions.list_sessions(user, db, limit=3, before=Place(first[-1].created_at, first[-1].id))
    assert [session.id for session in [*first, *rest]] == mine[::-1]


def test_an_anonymous_session_has_no_title(runtime: Runtime) -> None:
    session, _ = _create(runtime)
    with runtime.database.writing() as db, pytest.raises(NotOwner):
        runtime.sessions.change_settings(session.id, {"title": "words"}, db)
