"""Whole conversations with a recorded server: in this process, from the question to what is kept and told."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import IS_LIVE, Generation, Session
from tests.servers.replay import AND_NOW, Replay, model_name
from web.app import create_app


class Told(NamedTuple):
    """What became of a question, and of the next one of the same session."""

    events: list[tuple[str, dict[str, Any]]]
    """All of the log until the first answer's end."""
    message: dict[str, Any]
    """The answer, as `/session/messages` has it."""
    charged: int | None
    """Tokens of the owner's budget."""
    available: bool
    """Whether others were offered the model between the two."""
    asked_next: list[dict[str, Any]]
    """The turns with which the next answer was asked for."""
    next: dict[str, Any]
    """The next answer."""
    live: bool
    """Whether anything of the session is still being written."""

    @property
    def thinking(self) -> str:
        """As a reader of the events has it at the end."""
        thinking = ""
        for kind, data in self.events:
            if kind in ("resumed", "fallback"):
                thinking = thinking[: data["thinking"]]
            if kind == "thinking":
                assert data["at"] <= len(thinking)
                thinking = thinking[: data["at"]] + data["text"]
        return thinking

    @property
    def text(self) -> str:
        """As a reader of the events has it at the end."""
        text = ""
        for kind, data in self.events:
            if kind == "delta":
                assert data["at"] == len(text)
                text += data["text"]
        return text


class Chats:
    """Conversations, each in a session of its own; one that was had is not had again."""

    def __init__(self, runtime: Runtime, replay: Replay, new_owner: Callable[[], UUID] | None) -> None:
        """`new_owner` makes a user for each session; without it they are guests'."""
        self.runtime = runtime
        self._replay = replay
        self._new_owner = new_owner
        self._page = create_app(runtime).test_client()
        self._had: dict[str, Told] = {}

    def about(self, case_name: str) -> Told:
        """The conversation in which the model tells this case."""
        if case_name not in self._had:
            self._had[case_name] = self.with_model(model_name(case_name))
        return self._had[case_name]

    def with_model(self, model: str) -> Told:
        """A new session's question, and the next one."""
        session = self._session(model)
        row, message = self._answered(session, "Why?")
        events = [(event.type, json.loads(event.data)) for event in self.runtime.log.read(session.id, after=0).events]
        available = self._available(model)
        _, following = self._answered(session, AND_NOW)
        with self.runtime.database.reading() as db:
            live = db.query(Generation).where(Generation.session_id == session.id, IS_LIVE).count() > 0
        asked: list[dict[str, Any]] = self._replay.requests[-1]["messages"]
        return Told(events, message, row.settled_tokens, available, asked, following, live)

    def _session(self, model: str) -> Session:
        owner = self._new_owner() if self._new_owner else None
        credential = Credential.issue()
        with self.runtime.database.writing() as db:
            return self.runtime.sessions.create_session(
                db,
                owner,
                session_id=credential.session_id,
                secret_hash=None if owner else credential.secret_hash,
                model=model,
            )

    def _answered(self, session: Session, question: str) -> tuple[Generation, dict[str, Any]]:
        accepted = self.runtime.generations.accept(session, question)
        self.runtime.writer.run()
        with self.runtime.database.reading() as db:
            row = db.get_one(Generation, accepted.generation_id)
        return row, self.runtime.transcript.read(session).messages[-1].describe()

    def _available(self, model: str) -> bool:
        offered = self._page.get("/config/models").get_json()["models"]
        return bool(next(each["available"] for each in offered if each["name"] == model))
