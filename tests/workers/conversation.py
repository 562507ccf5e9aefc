"""A session in a test's hands: say something, look at what came of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import text

from core.conversation.event_log import Event
from core.conversation.message import Message
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.database import Database
from core.stores.tables import Session
from tests.support.waiting import wait_for
from web.commands import Commands

TERMINAL = ("done", "stopped", "failed")


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Hold the lock that creating a session needs: a creation waits for it, up to TRANSACTION_TIMEOUT in
    core/stores/database.py."""
    on_sqlite = database.engine.dialect.name == "sqlite"
    with database.writing() as db:
        # A transaction begins with its first statement, and SQLite's, when it means to write, with the lock.
        db.execute(text("SELECT 1" if on_sqlite else "LOCK TABLE session IN EXCLUSIVE MODE"))
        yield


class Conversation:
    """A session, made without the worker: anonymous, unless it has an owner."""

    def __init__(self, runtime: Runtime, commands: Commands, model: str, owner: UUID | None = None) -> None:
        self.runtime = runtime
        self.commands = commands
        secret_hash = None if owner else Credential.issue().secret_hash
        with runtime.database.writing() as db:
            self.session: Session = runtime.sessions.create_session(db, owner, secret_hash=secret_hash, model=model)

    def on(self, model: str, owner: UUID | None = None) -> "Conversation":
        """Another one, with this model."""
        return Conversation(self.runtime, self.commands, model, owner)

    def say(self, message: str) -> UUID:
        """What POST /chat does; returns the generation's id."""
        accepted = self.runtime.generations.accept(self.session, message)
        self.commands.generate(accepted.generation_id)
        return accepted.generation_id

    def events(self, *kinds: str) -> list[Event]:
        """The log's events of these kinds."""
        page = self.runtime.log.read(self.session.id, after=0)
        return [event for event in page.events if event.type in kinds]

    def ended(self, times: int = 1) -> dict[str, Any]:
        """Wait for the end of that many answers; the last one's terminal event."""
        wait_for(lambda: len(self.events(*TERMINAL)) >= times, what="the answer ends")
        last = self.events(*TERMINAL)[-1]
        return {"type": last.type, **json.loads(last.data)}

    def begun(self) -> None:
        """Wait for the first words of the answer."""
        wait_for(lambda: self.events("delta"), what="the answer begins")

    def heard(self) -> str:
        """The text of all answers, as a reader of the event stream puts it together."""
        return "".join(json.loads(event.data)["text"] for event in self.events("delta"))

    def last_word(self) -> Message:
        """The newest message, as a reload of the page shows it."""
        return self.runtime.transcript.read(self.session).messages[-1]
