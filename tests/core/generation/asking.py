"""Questions to real models over real stores, and what their readers are told."""

import json
import threading
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.conversation.message import Message
from core.conversation.partial_answer import PartialAnswer
from core.conversation.position import Position
from core.runtime import Runtime
from core.stores.tables import Generation, Session
from tests.conftest import new_user
from tests.support.told import Told
from tests.support.waiting import wait_for


@dataclass
class Asked:
    """One session, and the answer that is being written in it."""

    runtime: Runtime
    session: Session
    generation_id: UUID

    def again(self, message: str = "And now?", model: str | None = None) -> "Asked":
        """Ask the next question, perhaps another model."""
        if model is not None:
            with self.runtime.database.writing() as db:
                self.session = db.get_one(Session, self.session.id)
                self.session.last_model = model
        accepted = self.runtime.generations.accept(self.session, message)
        return Asked(self.runtime, self.session, accepted.generation_id)

    def write(self) -> threading.Thread:
        """Have it written, in a thread of its own."""
        writer = threading.Thread(target=self.runtime.writer.run, daemon=True)
        writer.start()
        return writer

    def events(self, until: Position | None = None) -> list[tuple[str, dict[str, Any]]]:
        """All that its log tells, up to a place in it."""
        events = list(self.runtime.log.read(self.session.id, after=0).events)
        assert [event.offset for event in events] == list(range(1, len(events) + 1))
        told = [event for event in events if until is None or event.offset <= until.offset]
        return [
            (event.type, data)
            for event in told
            if (data := json.loads(event.data)).get("generation_id") == str(self.generation_id)
        ]

    def kinds(self) -> list[str]:
        """What has happened, apart from the words."""
        return [kind for kind, _ in self.events() if kind not in ("delta", "thinking")]

    def told(self, until: Position | None = None) -> Told:
        """What a reader has in front of them."""
        told = Told()
        for kind, data in self.events(until):
            told.hear(kind, data)
        return told

    def message(self) -> Message:
        """The answer as the conversation has it, which is what readers have been told, at the same moment."""
        conversation = self.runtime.transcript.read(self.session)
        message = conversation.messages[-1]
        assert message.id == str(self.generation_id)
        assert conversation.cursor is not None
        told = self.told(conversation.cursor)
        assert (message.text, message.thinking or "") == (told.text, told.thinking)
        assert (message.thinking_seconds is not None) == bool(message.thinking)
        return message

    def written(self) -> PartialAnswer:
        """What there is of it, while it is being written."""
        return self.runtime.transcript.written(self.session.id, self.generation_id)

    def row(self) -> Generation:
        """Its row."""
        with self.runtime.database.reading() as db:
            return db.get_one(Generation, self.generation_id)


def ask(runtime: Runtime, model: str, *, owned: bool = False) -> Asked:
    """The first question of a new session."""
    owner = new_user(runtime.database) if owned else None
    with runtime.database.writing() as db:
        secret_hash = None if owned else bytes(32)
        session = runtime.sessions.create_session(db, owner, secret_hash=secret_hash, model=model)
    return Asked(runtime, session, runtime.generations.accept(session, "Why?").generation_id)


def wait_for_thoughts(asked: Asked, beginning: str = "Hmm.") -> None:
    """Wait until its model is in the middle of thinking."""
    wait_for(lambda: asked.written().thinking.startswith(beginning), what="it thinks")
