from datetime import timedelta
from typing import Any, cast

from sqlalchemy import select

from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import Session
from tests.conftest import TurnableClock


def _create(runtime: Runtime) -> Session:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash
        )


def test_the_sweep_takes_rows_and_words_and_leaves_the_living(settings: Any, clock: TurnableClock) -> None:
    runtime = Runtime(settings, clock=clock)
    old = [_create(runtime) for _ in range(7)]
    for session in old:
        runtime.generations.accept(session, "Why?")
        runtime.writer.run()
    clock.turn(timedelta(minutes=20))
    young = _create(runtime)
    runtime.generations.accept(young, "Why?")
    runtime.writer.run()
    clock.turn(timedelta(minutes=15))

    assert runtime.sweeper.sweep_expired(batch=3) == 7
    assert runtime.sweeper.sweep_expired(batch=3) == 0

    with runtime.database.reading() as db:
        assert db.scalars(select(Session.id)).all() == [young.id]
    left = " ".join(cast("list[str]", runtime.redis.keys("*")))
    assert str(young.id) in left
    assert not any(str(session.id) in left for session in old)
    assert len(runtime.transcript.read(young).messages) == 2
    runtime.close()


def test_readers_are_told_that_the_session_is_over(runtime: Runtime) -> None:
    from core.conversation.keys import channel

    session = _create(runtime)
    pubsub = runtime.redis.pubsub()
    pubsub.subscribe(channel(session.id))
    assert pubsub.get_message(timeout=1)["type"] == "subscribe"
    runtime.actions.end(session)
    assert '"expired"' in pubsub.get_message(timeout=1)["data"]
    pubsub.close()
