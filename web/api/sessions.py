"""/sessions: a user's sessions."""

from flask import Blueprint, Response, jsonify

from core.errors import InvalidBody
from web.api import paging
from web.api.representations import personal
from web.auth.principal import required_principal
from web.context import context
from web.openapi.operation import documented
from web.schemas import responses

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")

LIMIT = paging.limit_parameter(100, 50)
BEFORE = paging.before_parameter("The `next` of the last page.")


@blueprint.get("")
@documented({200: responses.Sessions}, access="user", raises=(InvalidBody,), takes=(LIMIT, BEFORE))
def sessions() -> Response:
    """The user's sessions, newest first, a page at a time."""
    principal = required_principal()
    limit, before = paging.limit(LIMIT), paging.before("the session_id of the last page's end is needed")
    service = context().runtime.sessions
    found = context().runtime.session_queries.list_sessions(principal.user_id, before=before, limit=limit + 1)
    page = found[:limit]
    listed = [service.describe(session) | {"title": session.title} for session in page]
    return personal(jsonify(sessions=listed, next=str(page[-1].id) if len(found) > limit else None))
