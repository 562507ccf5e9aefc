"""/session: create, look at, extend, switch and end one's session."""

from flask import Blueprint, Response, request

from core.conversation.transcript import PAGE
from core.conversation.words import UnknownMessage
from core.errors import (
    GenerationInProgress,
    InvalidBody,
    NotOwner,
    RateLimited,
    SessionExpired,
    SessionInvalid,
    TooManySessions,
    UnknownModel,
    VersionConflict,
)
from core.limits.message_limits import owner_of
from core.operations.audit import Kind
from core.sessions.service import Credential
from web.api import paging, reading, session_creation
from web.api.representations import answer, described, personal, prefers_async
from web.auth import current_session
from web.auth.creation_plan import new_credential
from web.auth.credentials import clear_session_cookie, session_cookie, set_session_cookie
from web.auth.principal import required_principal
from web.context import context
from web.errors import SessionRequired
from web.idempotency.header import idempotent
from web.limits import change_limits
from web.openapi.operation import IDEMPOTENCY_KEY, IF_MATCH, PREFER, documented
from web.schemas import responses
from web.schemas.requests import CreateSession, Nothing, OpenSession, RenameSession, SwitchModel, parse

blueprint = Blueprint("session", __name__, url_prefix="/session")

NO_VERSION = 0
"""What no session has: they begin with 1."""
MAX_PAGE = 200
LIMIT = paging.limit_parameter(MAX_PAGE, PAGE)
BEFORE = paging.before_parameter("The `before` of the page that came last, or any message's id.")


@blueprint.post("/create")
@idempotent(in_session=False)
@documented(
    {201: responses.Session, 202: responses.Pending},
    access="anybody",
    body=CreateSession,
    raises=(UnknownModel, RateLimited, TooManySessions),
    takes=(PREFER, IDEMPOTENCY_KEY),
    etag=True,
)
def create() -> Response:
    """Create a session: the user's who sends this, or an anonymous one."""
    body = parse(CreateSession)
    session_creation.admit_create(body.model)
    credential = new_credential()
    reply = context().commands.create_session(credential, session_creation.owner_id(), body.model, _wait())
    response = answer(reply, 201)
    if reply.problem is None:
        set_session_cookie(response, credential)
    return response


@blueprint.get("/current")
@documented({200: responses.CurrentSession}, access="session", etag=True)
def current() -> Response:
    """The session, and its live generation."""
    session = current_session.current_session()
    active = context().runtime.generations.active(session.id)
    return described(session, active_generation=active)


@blueprint.post("/open")
@documented(
    {200: responses.Session},
    access="user",
    body=OpenSession,
    raises=(NotOwner, SessionInvalid, SessionExpired, RateLimited),
    etag=True,
)
def open_session() -> Response:
    """Make one of the user's sessions the browser's current one: a stream can only name it by the cookie."""
    body = parse(OpenSession)
    principal = required_principal()
    session = current_session.owned_session(body.session_id, principal)
    change_limits.admit_uncounted("open", principal.user_id)
    response = described(session)
    set_session_cookie(response, Credential(session.id))
    return response


@blueprint.post("/refresh")
@documented({200: responses.Session}, access="session", body=Nothing, raises=(RateLimited,), etag=True)
def refresh() -> Response:
    """Count this as activity."""
    parse(Nothing)
    session = current_session.current_session()
    change_limits.admit("refresh", owner_of(session))
    return described(context().runtime.actions.refresh(session))


@blueprint.post("/model")
@documented(
    {200: responses.Session, 202: responses.Pending},
    access="session",
    body=SwitchModel,
    raises=(UnknownModel, VersionConflict, RateLimited),
    takes=(PREFER, IF_MATCH),
    etag=True,
)
def switch_model() -> Response:
    """Switch the model of the next messages."""
    body = parse(SwitchModel)
    session = current_session.current_session()
    context().runtime.models.require(body.model)
    change_limits.admit("switch", owner_of(session))
    reply = context().commands.switch_model(
        session.id, body.model, session.owner_id, _expected(session.version), _wait(), secret_hash=session.secret_hash
    )
    return answer(reply, 200)


@blueprint.get("/messages")
@documented({200: responses.Messages}, access="session", raises=(InvalidBody, RateLimited), takes=(LIMIT, BEFORE))
def messages() -> Response:
    """A page of the words so far, the newest first, and the place in the events that they reflect."""
    limit, before = paging.limit(LIMIT), paging.before("the id of a message of this session is needed")
    session = current_session.current_session()
    change_limits.admit_read(owner_of(session))
    try:
        with reading.turn():
            page = context().runtime.transcript.read(session, before, limit)
    except UnknownMessage:
        raise InvalidBody("before: this session has no message with this id.", field="before") from None
    told = {"cursor": str(page.cursor) if page.cursor else None, "before": page.before}
    # All of it before the answer begins, so that what can't be told is an error and not half a page.
    return personal(Response(list(reading.encoded(told, page.messages)), mimetype="application/json"))


@blueprint.get("/export")
@documented({200: responses.Export}, access="session", raises=(RateLimited,))
def export() -> Response:
    """Everything that is stored about the session."""
    session = current_session.current_session()
    change_limits.admit_export(owner_of(session))
    told = context().runtime.sessions.describe(session) | {"title": session.title}
    words = context().runtime.transcript.oldest_first(session)
    response = personal(Response(reading.encoded(told, words), mimetype="application/json"))
    response.headers["Content-Disposition"] = f'attachment; filename="session-{session.id}.json"'
    return response


@blueprint.post("/claim")
@documented(
    {200: responses.Session},
    access="user",
    body=Nothing,
    raises=(
        SessionRequired,
        SessionInvalid,
        SessionExpired,
        NotOwner,
        GenerationInProgress,
        RateLimited,
        TooManySessions,
    ),
    etag=True,
)
def claim() -> Response:
    """Take over the anonymous session whose secret the logged-in user also presents."""
    parse(Nothing)
    principal = required_principal()
    session = current_session.current_session()
    change_limits.admit("claim", principal.user_id)
    if session.anonymous:
        session = context().runtime.claims.claim(session, principal.user_id)
        context().runtime.audit.record(Kind.SESSION_CLAIMED, user_id=principal.user_id, session_id=session.id)
    response = described(session)
    set_session_cookie(response, Credential(session.id))
    return response


@blueprint.patch("")
@documented({200: responses.TitledSession}, access="session", body=RenameSession, raises=(RateLimited,), etag=True)
def rename() -> Response:
    """Call an owned session something else."""
    body = parse(RenameSession)
    session = current_session.current_session()
    change_limits.admit_uncounted("rename", owner_of(session))
    renamed = context().runtime.actions.rename(session, body.title)
    return described(renamed, title=renamed.title)


@blueprint.delete("")
@documented({204: None}, access="session")
def delete() -> Response:
    """End the session and forget it."""
    session = current_session.current_session()
    context().runtime.sweeper.delete(session)
    if session.owner_id is not None:
        context().runtime.audit.record(Kind.SESSION_DELETED, user_id=session.owner_id, session_id=session.id)
    response = Response(status=204)
    named = session_cookie()
    if named is not None and named.session_id == session.id:  # the header may have named another than the cookie
        clear_session_cookie(response)
    return response


def _wait() -> float:
    return 0.0 if prefers_async() else context().runtime.settings.reply_wait.total_seconds()


def _expected(version: int) -> int | None:
    """Which version the session must have when it is changed: its current one if that is among those that If-Match
    names, NO_VERSION if it is not; None when any will do."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    # A weak tag never matches here (RFC 9110, 13.1.1).
    return version if request.if_match.contains(str(version)) else NO_VERSION
