"""A question that a provider's filter has refused keeps no person from asking another."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from tests.conftest import new_user
from tests.support.honest import said
from tests.support.provider import Handler, ProviderServer


def _filters(handler: Handler) -> None:
    """As Azure does: the whole conversation is looked at."""
    turns = said(handler.owner.requests[-1])
    if any("bad" in turn["content"] for turn in turns):
        error = {"message": "The response was filtered.", "code": "content_filter", "status": 400}
        handler.head(400, "application/json")
        handler.say(json.dumps({"error": error}))
        return
    handler.begin()
    handler.chunk("Fine.")
    handler.conclude()


def _filters_midway(handler: Handler) -> None:
    turns = said(handler.owner.requests[-1])
    handler.begin()
    handler.chunk("Fine, but ")
    handler.conclude("content_filter" if any("bad" in turn["content"] for turn in turns) else "stop")


def _takes_all(handler: Handler) -> None:
    handler.begin()
    handler.chunk("All bad.")
    handler.conclude()


@pytest.fixture(scope="module")
def servers() -> Iterator[ProviderServer]:
    """A server with a filter, and one without."""
    server = ProviderServer({"filters": _filters, "filters-midway": _filters_midway, "takes-all": _takes_all})
    yield server
    server.stop()


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("model", ["filters", "filters-midway"])
def test_the_next_question_is_answered(
    settings: Settings, servers: ProviderServer, tmp_path: Path, model: str, owned: bool
) -> None:
    path = tmp_path / "filters.toml"
    tables = [
        f'[models.{name}]\nlabel = "{name}"\nprovider = "openai"\nmodel = "{name}"\nbase_url = "{servers.url}"\n'
        for name in ("filters", "filters-midway", "takes-all")
    ]
    path.write_text(f'default = "{model}"\n' + "\n".join(tables))
    runtime = Runtime(settings.model_copy(update={"models_path": path}))
    owner = new_user(runtime.database) if owned else None
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db, owner, session_id=credential.session_id, secret_hash=None if owner else credential.secret_hash
        )

    def ask(name: str, text: str) -> tuple[str, str | None]:
        with runtime.database.writing() as db:
            now = runtime.sessions.switch_model(session.id, name, db, session.owner_id)
        runtime.generations.accept(now, text)
        runtime.writer.run()
        data = json.loads(runtime.log.read(session.id, after=0).events[-1].data)
        return str(data.get("finish_reason")), data.get("problem", {}).get("reason")

    assert ask(model, "good")[0] == "stop"
    for _ in range(2):
        assert "filter" in " ".join(map(str, ask(model, "bad")))
        assert ask(model, "good again")[0] == "stop"
    assert ask("takes-all", "is it bad?")[0] == "stop"
    for _ in range(2):  # not for what they ask, but for what came before
        ask(model, "good")
    assert ask(model, "good")[0] == "stop"
    runtime.close()
