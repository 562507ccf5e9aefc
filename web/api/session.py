"""/session: create, look at, extend, switch and end one's session."""

from typing import Any

from flask import Blueprint, Response, jsonify, request

from core.conversation.transcript import PAGE
from core.conversation.words import UnknownMessage
from core.errors import (
    GenerationInProgress,
    InvalidBody,
    NotOwner,
    SessionExpired,
    SessionInvalid,
    SessionRequired,
    TooManySessions,
    UnknownModel,
    VersionConflict,
)
from core.limits.message_limits import owner_of
from core.limits.status import RateLimited
from core.messaging.replies import Reply
from core.sessions.credential import Credential
from core.stores.tables import Session
from web.api import paging, reading
from web.auth import current_session
from web.auth.credentials import clear_cookie, session_cookie, set_cookie
from web.auth.principal import required_principal
from web.context import parts
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
    current_session.admit_create(body.model)
    credential = current_session.new_credential()
    reply = parts().commands.create_session(credential, current_session.owner_id(), body.model, _wait())
    response = answer(reply, 201)
    if reply.problem is None:
        set_cookie(response, credential)
    return response


@blueprint.get("/current")
@documented({200: responses.CurrentSession}, access="session", etag=True)
def current() -> Response:
    """The session, and its live generation."""
    runtime = parts().runtime
    session = current_session.current_session()
    with runtime.database.reading() as db:
        active = runtime.generations.active(session.id, db)
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
    set_cookie(response, Credential(session.id))
    return response


@blueprint.post("/refresh")
@documented({200: responses.Session}, access="session", body=Nothing, raises=(RateLimited,), etag=True)
def refresh() -> Response:
    """Count this as activity."""
    parse(Nothing)
    session = current_session.current_session()
    change_limits.admit("refresh", owner_of(session))
    return described(parts().runtime.actions.refresh(session))


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
    parts().runtime.models.require(body.model)
    change_limits.admit("switch", owner_of(session))
    reply = parts().commands.switch_model(
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
            page = parts().runtime.transcript.read(session, before, limit)
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
    told = parts().runtime.sessions.describe(session) | {"title": session.title}
    words = parts().runtime.transcript.oldest_first(session)
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
    response = described(parts().runtime.actions.claim(session, principal.user_id))
    set_cookie(response, Credential(session.id))
    return response


@blueprint.patch("")
@documented({200: responses.TitledSession}, access="session", body=RenameSession, raises=(RateLimited,), etag=True)
def rename() -> Response:
    """Call an owned session something else."""
    body = parse(RenameSession)
    session = current_session.current_session()
    change_limits.admit_uncounted("rename", owner_of(session))
    renamed = parts().runtime.actions.rename(session, body.title)
    return described(renamed, title=renamed.title)


@blueprint.delete("")
@documented({204: None}, access="session")
def delete() -> Response:
    """End the session and forget it."""
    session = current_session.current_session()
    parts().runtime.actions.end(session)
    response = Response(status=204)
    named = session_cookie()
    if named is not None and named.session_id == session.id:  # the header may have named another than the cookie
        clear_cookie(response)
    return response


def answer(reply: Reply, status: int) -> Response:
    """A worker's reply about a session as a response; 202 while there is none."""
    if reply.state == "pending":
        response = jsonify(state="pending")
        response.status_code = 202
        response.headers["Location"] = f"/tasks/{reply.task_id}"
        if current_session.prefers_async():
            response.headers["Preference-Applied"] = "respond-async"
        return personal(response)
    result = current_session.result_of(reply).result or {}
    response = jsonify(result)
    response.status_code = status
    response.set_etag(str(result["version"]))
    return personal(response)


def personal(response: Response) -> Response:
    """Keep an answer about one person out of every cache."""
    response.headers["Cache-Control"] = "no-store"
    return response


def described(session: Session, **more: Any) -> Response:
    """The session as an answer, with its version as the ETag."""
    response = jsonify(**parts().runtime.sessions.describe(session), **more)
    response.set_etag(str(session.version))
    return personal(response)


def _wait() -> float:
    return 0.0 if current_session.prefers_async() else parts().runtime.settings.reply_wait.total_seconds()


def _expected(version: int) -> int | None:
    """Which version the session must have when it is changed: its current one if that is among those that If-Match
    names, NO_VERSION if it is not; None when any will do."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    # A weak tag never matches here (RFC 9110, 13.1.1).
    return version if request.if_match.contains(str(version)) else NO_VERSION
