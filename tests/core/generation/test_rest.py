"""Whose failures hide a model from whom: questions that fail, of one person and of several, over real requests."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.llm.providers.base import ErrorKind, ProviderError
from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import Session
from tests.conftest import new_user
from tests.support.provider import Handler, ProviderServer


def _overloaded_then_well(handler: Handler) -> None:
    """Refuses the first question, and answers from then on."""
    if sum(request["model"] == "moody" for request in handler.owner.requests) == 1:
        handler.refuse(503, "loading")
    else:
        handler.owner.manners["good"](handler)


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    made = ProviderServer({"moody": _overloaded_then_well})
    yield made
    made.stop()


@pytest.fixture
def worker(settings: Settings, server: ProviderServer) -> Iterator[Runtime]:
    """A chat worker whose models live on the server."""
    moody = server.models_toml().partition("[models.good]")[2].partition("[models.")[0].replace('"good"', '"moody"')
    settings.models_path.write_text(f"{server.models_toml()}\n[models.moody]{moody}")
    parts = Runtime(settings)
    yield parts
    parts.close()


@pytest.fixture
def one(worker: Runtime) -> UUID:
    return new_user(worker.database)


@pytest.fixture
def another(worker: Runtime) -> UUID:
    return new_user(worker.database)


def _ask(worker: Runtime, owner: UUID, model: str) -> str:
    """Put a question to the model; how it ends."""
    with worker.database.writing() as db:
        session: Session = worker.sessions.create_session(db, owner, secret_hash=None, model=model)
    worker.generations.accept(session, "Why?")
    worker.writer.run()
    return worker.log.read(session.id, after=0).events[-1].type


def _unavailable(worker: Runtime) -> set[str]:
    described = worker.models.describe(worker.cooldowns.in_cooldown(worker.models.names))
    return {model["name"] for model in described["models"] if not model["available"]}


def test_five_questions_of_one_person_that_fail_in_five_ways_hide_nothing(worker: Runtime, one: UUID) -> None:
    for model in ("silent", "rejected", "cut", "error-in-stream", "broken"):
        assert _ask(worker, one, model) == "failed"
    assert _unavailable(worker) == set()


def test_nor_do_any_number_of_questions_that_only_one_person_has_trouble_with(worker: Runtime, one: UUID) -> None:
    for model in ("broken", "error-in-stream") * 3:
        assert _ask(worker, one, model) == "failed"
    assert _unavailable(worker) == set()


@pytest.mark.parametrize("model", ["silent", "rejected", "cut", "stalled"])
def test_nor_do_those_of_many_when_it_is_their_questions(worker: Runtime, model: str) -> None:
    for _ in range(3):
        assert _ask(worker, new_user(worker.database), model) == "failed"
    assert _unavailable(worker) == set()


def test_what_three_have_met_is_the_servers(worker: Runtime, one: UUID, another: UUID) -> None:
    assert _ask(worker, one, "broken") == "failed"
    assert _ask(worker, another, "broken") == "failed"
    assert _unavailable(worker) == set()
    assert _ask(worker, new_user(worker.database), "broken") == "failed"
    assert _unavailable(worker) == {"broken"}


def test_unless_somebody_was_answered_between(worker: Runtime, one: UUID, another: UUID) -> None:
    assert _ask(worker, one, "moody") == "failed"
    assert _ask(worker, another, "moody") == "done"
    for owner in (another, new_user(worker.database)):
        worker.cooldowns.note_failure("moody", ProviderError(ErrorKind.SERVER_ERROR), owner)
    assert _unavailable(worker) == set()


@pytest.mark.parametrize("model", ["away", "unauthorized", "rate-limited"])
def test_what_concerns_everybody_hides_the_model_at_once(worker: Runtime, one: UUID, model: str) -> None:
    assert _ask(worker, one, model) == "failed"
    assert _unavailable(worker) == {model}


def test_a_question_to_a_model_that_rests_is_asked_and_its_answer_ends_the_rest(worker: Runtime, one: UUID) -> None:
    worker.redis.set("sb:suspect:good", "unreachable")
    worker.redis.set("sb:resting:good", "unreachable", ex=100)
    assert _unavailable(worker) == {"good"}
    assert _ask(worker, one, "good") == "done"
    assert _unavailable(worker) == set()
