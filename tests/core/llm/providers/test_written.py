"""Answers that are written from Anthropic's protocol: the writer sees no difference."""

from pathlib import Path

import pytest

from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import Generation, Session
from tests.support.provider import ANSWER, ProviderServer


@pytest.fixture
def models_path(provider: ProviderServer, tmp_path: Path) -> Path:
    """The models of the other tests, in this protocol."""
    path = tmp_path / "models.toml"
    path.write_text(provider.models_toml("anthropic"))
    return path


def _answered(runtime: Runtime, model: str) -> tuple[Session, Generation]:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash, model=model
        )
    accepted = runtime.generations.accept(session, "Why?")
    runtime.writer.run()
    with runtime.database.reading() as db:
        return session, db.get_one(Generation, accepted.generation_id)


@pytest.mark.parametrize("model", ["good", "prefilled-cut", "repeating-cut", "falls-back", "falls-back-midway"])
def test_an_answer_is_whole(runtime: Runtime, model: str) -> None:
    session, generation = _answered(runtime, model)
    assert (generation.state, generation.finish_reason) == ("done", "stop")
    assert runtime.transcript.read(session).messages[-1].text == ANSWER


def test_tokens_are_counted(runtime: Runtime) -> None:
    _, generation = _answered(runtime, "good")
    assert (generation.prompt_tokens, generation.completion_tokens) == (7, 11)


@pytest.mark.parametrize(
    ("model", "kept"),
    [("unauthorized", ""), ("silent", ""), ("cut", "Half an "), ("error-in-stream", "Half an "), ("away", "")],
)
def test_a_failure_ends_the_answer_and_what_there_is_is_kept(runtime: Runtime, model: str, kept: str) -> None:
    session, generation = _answered(runtime, model)
    assert generation.state == "failed"
    assert runtime.transcript.read(session).messages[-1].text == kept
