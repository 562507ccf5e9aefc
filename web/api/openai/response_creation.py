"""Creating a response: its conversation, the question in it, and a worker that is told of it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from core.auth.principal import Principal
from core.conversation.session_settings import MAX_SYSTEM_PROMPT
from core.errors import (
    GenerationInProgress,
    InvalidBody,
    NotOwner,
    SessionExpired,
    SessionInvalid,
    UnknownConversation,
    UnknownResponse,
)
from core.generation.accepted import Accepted
from core.generation.answers import Answer
from core.generation.service import check_size
from core.generation.wishes import CURRENT_LEAF, Parent, Terms
from core.sessions.queries import Session
from web.api.message_acceptance import accept, discard_session
from web.api.openai import response_objects
from web.api.openai.response_input import BETWEEN, Question, question_of
from web.api.openai.response_objects import Options
from web.api.session_creation import session_of_user
from web.auth.current_session import owned_session
from web.context import context
from web.schemas.openai_responses import CreateResponse


def create_response(body: CreateResponse, principal: Principal) -> Answer:
    """Accept the question into the conversation that the request names, or into a new one.

    Raises InvalidBody, UnknownConversation, UnknownResponse, and what accept_message and creating a session raise.
    """
    question = question_of(body.input)
    check_size(question.text, "input")
    session, parent = _named(body, principal)
    settings = _settings(body, question)
    created = None
    if session is None:
        session = created = session_of_user(body.model)
    known = asdict(context().services.actions.settings(session))
    changed = {name: value for name, value in settings.items() if known[name] != value}
    try:
        # Before the question: a worker may take that at once.
        _set(session, changed)
        terms = _terms(body, {**known, **changed})
        accepted = accept(lambda new, repeated: _take(session, question, parent, body.model, terms, new, repeated))
    except Exception:
        if created is not None:
            discard_session(created)
        else:
            _set(session, {name: known[name] for name in changed})
        raise
    return context().services.answers.find(accepted.generation_id, principal.user_id)


def _settings(body: CreateResponse, question: Question) -> dict[str, Any]:
    """What the request sets for the conversation. Raises InvalidBody."""
    instructions = BETWEEN.join(each for each in (body.instructions, question.instructions) if each)
    if len(instructions) > MAX_SYSTEM_PROMPT:
        raise InvalidBody(
            f"instructions: with system and developer messages, at most {MAX_SYSTEM_PROMPT} characters are taken.",
            field="instructions",
        )
    settings: dict[str, Any] = {} if body.temperature is None else {"temperature": body.temperature}
    if instructions or body.instructions is not None:
        settings["system_prompt"] = instructions or None
    return settings


def _terms(body: CreateResponse, settings: Mapping[str, Any]) -> Terms:
    """What is kept with the answer. `settings`: the conversation's, as they hold for it."""
    asked = Options(
        settings["system_prompt"],
        settings["temperature"],
        bool(body.background),
        dict(body.metadata or {}),
        body.tool_choice or "auto",
        body.parallel_tool_calls is not False,
        body.top_p,
    )
    return Terms(body.max_output_tokens, asked.json())


def _set(session: Session, settings: dict[str, Any]) -> None:
    if settings:
        context().services.actions.change_settings(session, settings)


def own_answer(response_id: str, principal: Principal) -> Answer:
    """The user's answer of this id. Raises UnknownResponse, for another's as well."""
    generation_id = response_objects.parse_id(response_id, response_objects.RESPONSE)
    if generation_id is None:
        raise UnknownResponse
    return context().services.answers.find(generation_id, principal.user_id)


def own_conversation(conversation_id: str, principal: Principal) -> Session:
    """The user's session of this id. Raises UnknownConversation, for another's as well."""
    session_id = response_objects.parse_id(conversation_id, "")
    if session_id is None:
        raise UnknownConversation
    try:
        return owned_session(session_id, principal)
    except (NotOwner, SessionInvalid, SessionExpired):
        raise UnknownConversation from None


def _take(
    session: Session, question: Question, parent: Parent, model: str | None, terms: Terms, new: UUID, repeated: bool
) -> Accepted:
    return context().services.generations.accept(
        session, question.text, new, repeated=repeated, parent=parent, model=model, terms=terms
    )


def _named(body: CreateResponse, principal: Principal) -> tuple[Session | None, Parent]:
    """The session that the request names, if it names one, and the message in it that the question follows."""
    if body.previous_response_id is None:
        named = None if body.conversation is None else _conversation(body.conversation, principal)
        return named, CURRENT_LEAF
    if body.conversation is not None:
        raise InvalidBody(
            "conversation: either this or previous_response_id names the conversation, not both.",
            field="conversation",
        )
    try:
        previous = own_answer(body.previous_response_id, principal)
    except UnknownResponse:
        raise UnknownResponse(field="previous_response_id") from None
    if previous.is_live:
        raise GenerationInProgress
    last = previous.message or previous.question  # an answer that has never begun leaves its question, or nothing
    return previous.session, UUID(last.id) if last else CURRENT_LEAF


def _conversation(conversation_id: str, principal: Principal) -> Session:
    try:
        return own_conversation(conversation_id, principal)
    except UnknownConversation:
        raise UnknownConversation(field="conversation") from None
