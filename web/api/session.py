"""/session: create, read, extend, switch, set, claim and end the current session, and turn to its branches."""

from contextlib import suppress
from dataclasses import asdict
from uuid import UUID

from flask import Blueprint, Response
from werkzeug.datastructures import ETags

from core.auth.principal import Principal
from core.conversation.finished_messages import UnknownMessage
from core.conversation.session_settings import SessionSettings
from core.conversation.transcript import PAGE_SIZE
from core.errors import (
    GenerationInProgress,
    InvalidBody,
    LoginRequired,
    MessageTooLarge,
    NoSuchMessage,
    NotOwner,
    NotWaiting,
    QueueSlow,
    SessionExpired,
    SessionInvalid,
    TooManySessions,
    Unavailable,
    UnknownModel,
    VersionConflict,
)
from core.generation.service import check_size
from core.limits.message_limits import owner_of
from core.limits.status import RateLimited
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.api import parameters, session_creation
from web.api.conversation_json import encode_conversation, one_of_readers
from web.api.operation import operation
from web.api.parameters import IF_MATCH, PREFER
from web.api.representations import command_answer, configured_session_answer, session_answer
from web.auth import current_session
from web.auth.access import OPTIONAL_USER, SESSION, USER, USER_WITH_SESSION
from web.auth.creation_plan import new_credential
from web.auth.credentials import clear_session_cookie, session_cookie, set_session_cookie
from web.context import context
from web.limits import change_limits
from web.openapi.declaration import Encoded
from web.schemas import responses
from web.schemas.requests import (
    ChangeSession,
    CreateSession,
    EditWaiting,
    Nothing,
    OpenSession,
    SwitchModel,
    TurnTo,
)

blueprint = Blueprint("session", __name__, url_prefix="/session")

NO_VERSION = 0
"""The version of no session: they begin with 1."""
LIMIT = parameters.page_size(200, PAGE_SIZE)
BEFORE = parameters.page_end(
    "The `before` of the last page, or the id of any message.", "the id of a message of this session"
)


@blueprint.post("/create")
@operation(
    access=OPTIONAL_USER,
    body=CreateSession,
    takes=(PREFER,),
    answers={201: responses.Session, 202: responses.Pending},
    raises=(UnknownModel, RateLimited, TooManySessions, SessionInvalid, LoginRequired, QueueSlow),
    idempotent_by="sender",
)
def create(body: CreateSession, respond_async: bool, response: Response) -> responses.Session | responses.Pending:
    """Create a session, owned by the authenticated user or anonymous."""
    session_creation.admit_create(body.model)
    credential = new_credential()
    reply = context().commands.create_session(
        credential, session_creation.owner_id(), body.model, _reply_wait(respond_async)
    )
    set_session_cookie(response, credential)
    return command_answer(reply, respond_async, response)


@blueprint.get("/current")
@operation(access=SESSION, answers={200: responses.CurrentSession})
def current(session: Session) -> responses.CurrentSession:
    """Read the session and its live generation."""
    services = context().services
    active = services.generations.active(session.id)
    settings = SessionSettings()
    with suppress(Unavailable):  # a guest's are in Redis; with it away the session is valid all the same
        settings = services.actions.settings(session)
    return responses.CurrentSession(
        **services.sessions.describe(session), **asdict(settings), active_generation=active
    )


@blueprint.post("/open")
@operation(
    access=USER,
    body=OpenSession,
    answers={200: responses.Session},
    raises=(NotOwner, SessionInvalid, SessionExpired, RateLimited),
)
def open_session(body: OpenSession, principal: Principal, response: Response) -> responses.Session:
    """Make one of the user's sessions the browser's current one: event streams can only name it by the cookie."""
    session = current_session.owned_session(body.session_id, principal)
    change_limits.admit_uncounted("open", principal.user_id)
    set_session_cookie(response, Credential(session.id))
    return session_answer(session)


@blueprint.post("/refresh")
@operation(access=SESSION, body=Nothing, answers={200: responses.Session}, raises=(RateLimited,))
def refresh(session: Session) -> responses.Session:
    """Extend the session: this request counts as activity."""
    change_limits.admit("refresh", owner_of(session))
    return session_answer(context().services.actions.refresh(session))


@blueprint.post("/model")
@operation(
    access=SESSION,
    body=SwitchModel,
    takes=(PREFER, IF_MATCH),
    answers={200: responses.Session, 202: responses.Pending},
    raises=(UnknownModel, VersionConflict, RateLimited, QueueSlow),
)
def switch_model(
    session: Session, body: SwitchModel, respond_async: bool, if_match: ETags | None, response: Response
) -> responses.Session | responses.Pending:
    """Switch the model of the next messages, and with `live` that of the answer that is being written."""
    context().services.models.require(body.model)
    change_limits.admit("switch", owner_of(session))
    reply = context().commands.switch_model(
        session.id,
        body.model,
        session.owner_id,
        _expected_version(if_match, session.version),
        _reply_wait(respond_async),
        secret_hash=session.secret_hash,
        live=body.live,
    )
    return command_answer(reply, respond_async, response)


@blueprint.get("/messages")
@operation(
    access=SESSION,
    takes=(LIMIT, BEFORE),
    answers={200: Encoded(responses.Messages)},
    raises=(InvalidBody, RateLimited),
)
def messages(session: Session, limit: int, before: UUID | None) -> Response:
    """Read a page of the current branch, the newest first, and the position in the events that it reflects."""
    change_limits.admit_read(owner_of(session))
    services = context().services
    newest = None if before else services.session_queries.last_end(session)  # before the words: these have it
    try:
        with one_of_readers():
            page = services.transcript.read(session, before, limit)
    except UnknownMessage:
        raise InvalidBody("before: this session has no message with this id.", field="before") from None
    if newest is not None:
        services.actions.mark_read(session, newest)
    fields = {"cursor": str(page.cursor) if page.cursor else None, "before": page.before}
    # All of it before the answer begins, so that what can't be read is an error and not half a page.
    return Response(list(encode_conversation(fields, page.messages)), mimetype="application/json")


@blueprint.post("/branch")
@operation(
    access=SESSION,
    body=TurnTo,
    answers={200: responses.Branch},
    raises=(NoSuchMessage, GenerationInProgress, NotOwner, SessionInvalid, RateLimited),
)
def turn_to_branch(session: Session, body: TurnTo) -> responses.Branch:
    """Make the branch through this message the current one: of those, the one that was used last."""
    change_limits.admit_uncounted("branch", owner_of(session))
    leaf = context().services.actions.branch(session, body.message_id)
    return responses.Branch(session_id=session.id, leaf=leaf)


@blueprint.get("/export")
@operation(access=SESSION, answers={200: Encoded(responses.Export)}, raises=(RateLimited,))
def export(session: Session) -> Response:
    """Export all that is stored about the session."""
    change_limits.admit_export(owner_of(session))
    services = context().services
    known = configured_session_answer(session, services.actions.settings(session)).wire()
    known["waiting"] = [each.wire() for each in _waiting(session)]
    words = services.transcript.oldest_first(session)
    response = Response(encode_conversation(known, words), mimetype="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="session-{session.id}.json"'
    return response


@blueprint.post("/claim")
@operation(
    access=USER_WITH_SESSION,
    body=Nothing,
    answers={200: responses.Session},
    raises=(GenerationInProgress, RateLimited, TooManySessions),
)
def claim(principal: Principal, session: Session, response: Response) -> responses.Session:
    """Make the anonymous session whose secret the request presents the authenticated user's own."""
    change_limits.admit("claim", principal.user_id)
    session = context().services.actions.claim(session, principal.user_id)
    set_session_cookie(response, Credential(session.id))
    return session_answer(session)


@blueprint.get("/queue")
@operation(access=SESSION, answers={200: responses.WaitingQuestions}, raises=(RateLimited,))
def waiting(session: Session) -> responses.WaitingQuestions:
    """List the questions that wait until the answer before them has ended."""
    change_limits.admit_read(owner_of(session))
    return responses.WaitingQuestions(waiting=_waiting(session))


@blueprint.patch("/queue/<uuid:generation_id>")
@operation(
    access=SESSION,
    body=EditWaiting,
    answers={200: responses.WaitingQuestion},
    raises=(NotWaiting, MessageTooLarge, RateLimited),
)
def edit_waiting(session: Session, body: EditWaiting, generation_id: UUID) -> responses.WaitingQuestion:
    """Give a question that waits other words."""
    check_size(body.message)
    change_limits.admit("queue", owner_of(session))
    edited = context().services.waiting.edit(session, generation_id, body.message)
    return responses.WaitingQuestion(**edited.describe())


@blueprint.delete("/queue/<uuid:generation_id>")
@operation(access=SESSION, answers={204: None}, raises=(NotWaiting, RateLimited))
def remove_waiting(session: Session, generation_id: UUID) -> None:
    """Take back a question that waits."""
    change_limits.admit_uncounted("queue", owner_of(session))
    context().services.waiting.remove(session, generation_id)


@blueprint.patch("")
@operation(access=SESSION, body=ChangeSession, answers={200: responses.ConfiguredSession}, raises=(RateLimited,))
def change(session: Session, body: ChangeSession) -> responses.ConfiguredSession:
    """Set the session's title, its instructions for the models, or the temperature."""
    change_limits.admit_uncounted("rename", owner_of(session))
    return configured_session_answer(session, context().services.actions.change_settings(session, body.changes()))


@blueprint.delete("")
@operation(access=SESSION, answers={204: None})
def delete(session: Session, response: Response) -> None:
    """End the session and delete all that is stored about it."""
    context().services.actions.end(session)
    named = session_cookie()
    if named is not None and named.session_id == session.id:  # the header may have named another than the cookie
        clear_session_cookie(response)


def _waiting(session: Session) -> list[responses.WaitingQuestion]:
    listed = context().services.waiting.list(session)
    return [responses.WaitingQuestion(**each.describe()) for each in listed]


def _reply_wait(respond_async: bool) -> float:
    """Seconds to wait for a worker."""
    return 0.0 if respond_async else context().options.reply_wait.total_seconds()


def _expected_version(if_match: ETags | None, version: int) -> int | None:
    """The version that the session must have when it is changed: its current one if that is among those that
    If-Match names, NO_VERSION if it is not; None when any will do."""
    if if_match is None or if_match.star_tag:
        return None
    # A weak tag never matches here (RFC 9110, 13.1.1).
    return version if if_match.contains(str(version)) else NO_VERSION
