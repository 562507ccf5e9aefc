"""One answer with its question, as its owner asks for it by the generation's id."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, exists, or_, select
from sqlalchemy.orm import defer

from core.clock import Clock
from core.conversation.damage import Damaged, pass_over
from core.conversation.finished_messages import FOLLOWED_BY
from core.conversation.message import Message
from core.errors import UnknownResponse
from core.stores.database import Database
from core.stores.tables import LIVE, Generation, GenerationState, Session
from core.stores.tables import Message as Row


@dataclass(frozen=True)
class Answer:
    """An answer of a user's session, being written or ended."""

    id: UUID
    session: Session
    state: GenerationState
    model: str
    """The one that has written its end, or else the one that it was accepted with."""
    created_at: datetime
    finished_at: datetime | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    max_tokens: int | None
    """The tokens that it was to have at the most, if its question said so."""
    client_options: Mapping[str, Any]
    """What its question was asked with, as its wire has put it down; empty where it came by another."""
    previous: UUID | None
    """The answer that its question follows."""
    question: Message | None
    message: Message | None
    """What was written. None while it is being written, and for one that never began."""

    @property
    def is_live(self) -> bool:
        """Whether it is waiting or being written."""
        return self.state in LIVE


class Answers:
    """Finds them. Raises Unavailable when the database is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def find(self, generation_id: UUID, user_id: UUID) -> Answer:
        """The answer, if it is in a living session of the user's. Raises UnknownResponse, for another's as well.

        One that goes on with an answer is a part of that, and none itself.
        """
        wanted = (
            select(Generation, Session)
            .join(Session, Session.id == Generation.session_id)
            .where(Generation.id == generation_id, Session.owner_id == user_id)
            .where(Session.expires_at > self._clock.now(), Session.ephemeral.is_(False))
            .where(or_(Generation.answer_id.is_(None), Generation.answer_id == Generation.id))
        )
        with self._database.reading() as db:
            found = db.execute(wanted).one_or_none()
            if found is None:
                raise UnknownResponse
            generation, session = found
            answer_id = generation.answer_id or generation.id
            ids = [each for each in (generation.question_id, answer_id) if each is not None]
            words = select(Row, cast(Row.problem, Text)).options(defer(Row.problem, raiseload=True))
            rows = db.execute(words.where(Row.id.in_(ids), Row.session_id == session.id)).all()
            at = {"session": session.id, "message": generation.question_id}
            follows = db.scalar(FOLLOWED_BY, at) if generation.question_id else None
            previous = follows and db.scalar(select(Generation.id).where(Generation.id == follows))
        messages = {row.id: _read(row, problem) for row, problem in rows}
        state = GenerationState(generation.state)
        return Answer(
            generation.id,
            session,
            state,
            generation.answered_by or generation.model,
            generation.created_at,
            generation.finished_at,
            generation.finish_reason,
            generation.prompt_tokens,
            generation.completion_tokens,
            generation.reasoning_tokens,
            generation.max_tokens,
            generation.client_options or {},
            previous,
            messages.get(generation.question_id) if generation.question_id else None,
            None if state in LIVE else messages.get(answer_id),
        )

    def is_alone(self, answer: Answer) -> bool:
        """Whether its session has no other."""
        others = exists().where(Generation.session_id == answer.session.id, Generation.id != answer.id)
        with self._database.reading() as db:
            return not db.scalar(select(others))


def _read(row: Row, problem: str | None) -> Message | None:
    try:
        return Message.from_row(row, problem, row.parent_id or row.session_id)
    except Damaged as kind:
        pass_over(row.session_id, f"message {row.id}", kind)
        return None
