"""/sessions: a user's sessions."""

from uuid import UUID

from flask import Blueprint

from core.auth.principal import Principal
from web.api import parameters
from web.api.operation import operation
from web.api.representations import titled_session_answer
from web.auth.access import USER
from web.context import context
from web.schemas import responses

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")

LIMIT = parameters.page_size(100, 50)
BEFORE = parameters.page_end("The `next` of the last page.", "the session_id of the last page's end")


@blueprint.get("")
@operation(access=USER, takes=(LIMIT, BEFORE), answers={200: responses.Sessions})
def sessions(principal: Principal, limit: int, before: UUID | None) -> responses.Sessions:
    """List the user's sessions, newest first, a page at a time."""
    found = context().services.session_queries.list_sessions(principal.user_id, before=before, limit=limit + 1)
    page = found[:limit]
    listed = [titled_session_answer(session) for session in page]
    return responses.Sessions(sessions=listed, next=page[-1].id if len(found) > limit else None)
