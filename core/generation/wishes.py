"""What may be asked of a conversation, and where in its tree that goes: values, and how they are looked up."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from core.conversation.finished_messages import MAX_SIBLINGS
from core.conversation.message import Message
from core.conversation.partial_answer import NO_WORDS, PartialAnswer
from core.conversation.transcript import Transcript
from core.errors import AnswerWhole, NoSuchMessage, NothingToRegenerate, TooManyBranches
from core.generation.stream_filter import MAX_ANSWER_LENGTH
from core.stores.tables import Session


class Current(Enum):
    """A place in a conversation that is not named by its id."""

    LEAF = "leaf"


CURRENT_LEAF: Final = Current.LEAF
"""The end of the current branch."""
Parent: TypeAlias = UUID | Literal[Current.LEAF] | None
"""What a question is to follow. None: the beginning."""


class Terms(NamedTuple):
    """What a question asks for besides its words."""

    max_tokens: int | None = None
    """Tokens that the answer is to have at the most, its thinking included. None: as the model has it."""
    client_options: Mapping[str, Any] | None = None
    """What its wire tells of the question again, as JSON: nothing else reads it. For owned sessions only."""


NO_TERMS = Terms()


@dataclass(frozen=True)
class Ask:
    """A new question."""

    text: str
    parent: Parent = CURRENT_LEAF
    terms: Terms = NO_TERMS


@dataclass(frozen=True)
class Regenerate:
    """Another answer beside this one, or to this question; by default the last one's of the current branch."""

    message_id: UUID | None


@dataclass(frozen=True)
class GoOn:
    """More of this answer, by default the last one of the current branch."""

    message_id: UUID | None


Wish: TypeAlias = Ask | Regenerate | GoOn


@dataclass(frozen=True)
class Target:
    """Where it goes."""

    text: str
    """The question's."""
    parent: Parent
    """What the question follows."""
    question_id: UUID | None = None
    """None: the question is new."""
    goes_on: Message | None = None
    """The answer, where it had ended."""
    terms: Terms = NO_TERMS

    @property
    def kept(self) -> PartialAnswer:
        """What there is of the answer."""
        answer = self.goes_on
        if answer is None:
            return NO_WORDS
        return PartialAnswer(answer.text, answer.thinking or "", 1000 * (answer.thinking_seconds or 0))

    @property
    def named(self) -> UUID | None:
        """The message that must be there."""
        if self.question_id is not None:
            return self.question_id
        return self.parent if isinstance(self.parent, UUID) else None


@dataclass(frozen=True)
class Targets:
    """Looks them up."""

    _transcript: Transcript

    def find(self, session: Session, wish: Wish) -> Target:
        """Where in the session's tree a wish goes.

        Raises NoSuchMessage, TooManyBranches, NothingToRegenerate, AnswerWhole or Unavailable.
        """
        if isinstance(wish, Ask):
            return self._asked(session, wish)
        if isinstance(wish, Regenerate):
            return self._regenerated(session, wish.message_id)
        return self._gone_on_with(session, wish.message_id)

    def _asked(self, session: Session, ask: Ask) -> Target:
        if ask.parent is not CURRENT_LEAF:
            if ask.parent is not None:
                self._named(session, ask.parent, "parent")
            self._require_room(session, ask.parent)
        return Target(ask.text, ask.parent, terms=ask.terms)

    def _regenerated(self, session: Session, message_id: UUID | None) -> Target:
        message = self._named(session, message_id, "message_id")
        if message is not None and message.role == "assistant":
            message = self._parent_of(session, message)
        if message is None or message.role != "user":
            raise NothingToRegenerate
        self._require_room(session, UUID(message.id))
        return Target(message.text, _id_of(message.parent), UUID(message.id))

    def _gone_on_with(self, session: Session, message_id: UUID | None) -> Target:
        answer = self._named(session, message_id, "message_id")
        if answer is None or answer.role != "assistant" or answer.finish_reason != "length" or not answer.text:
            raise AnswerWhole
        if len(answer.text) >= MAX_ANSWER_LENGTH:
            raise AnswerWhole(f"The answer has {MAX_ANSWER_LENGTH:,} characters, as many as one may have.")
        if self._transcript.count_children(session, UUID(answer.id)):
            raise AnswerWhole("Something has been said after this answer; ask for the rest of it instead.")
        question = self._parent_of(session, answer)
        if question is None:
            raise AnswerWhole("The question of this answer has been lost; ask again.")
        return Target(question.text, _id_of(question.parent), UUID(question.id), answer)

    def _named(self, session: Session, message_id: UUID | None, field: str) -> Message | None:
        message = self._transcript.message(session, message_id)
        if message is None and message_id is not None:
            raise NoSuchMessage(f"{field}: this session has no message with this id.", field=field)
        return message

    def _parent_of(self, session: Session, message: Message) -> Message | None:
        return self._transcript.message(session, UUID(message.parent)) if message.parent else None

    def _require_room(self, session: Session, parent: UUID | None) -> None:
        if self._transcript.count_children(session, parent) >= MAX_SIBLINGS:
            raise TooManyBranches(MAX_SIBLINGS)


def _id_of(parent: str | None) -> UUID | None:
    return UUID(parent) if parent else None
