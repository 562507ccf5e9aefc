"""/sessions: a user's sessions."""

from uuid import UUID

from flask import Blueprint, Response, jsonify, request

from core.errors import InvalidBody
from web.parts import parts
from web.principal import required_principal
from web.session import personal

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")

MAX_PAGE = 100


@blueprint.get("")
def sessions() -> Response:
    """The user's sessions, newest first, a page at a time."""
    principal = required_principal()
    limit, before = _limit(), _before()
    service = parts().runtime.sessions
    with parts().runtime.database.reading() as db:
        found = service.list_sessions(principal.user_id, db, before=before, limit=limit + 1)
    page = found[:limit]
    listed = [service.describe(session) | {"title": session.title} for session in page]
    return personal(jsonify(sessions=listed, next=str(page[-1].id) if len(found) > limit else None))


def _limit() -> int:
    text = request.args.get("limit", "50")
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PAGE:
        raise InvalidBody(f"limit: a number from 1 to {MAX_PAGE} is needed.", field="limit")
    return int(text)


def _before() -> UUID | None:
    text = request.args.get("before")
    try:
        return UUID(text) if text else None
    except ValueError:
        raise InvalidBody("before: the session_id of the last page's end is needed.", field="before") from None
