"""/sessions: a user's sessions."""

from uuid import UUID

from flask import Blueprint, Response, jsonify, request

from core.errors import InvalidBody
from web import answers
from web.documented import Parameter, documented
from web.parts import parts
from web.principal import required_principal
from web.session import personal

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")

MAX_PAGE = 100
LIMIT = Parameter(
    "limit", "query", "How many at most.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50}
)
BEFORE = Parameter("before", "query", "The `next` of the last page.", {"type": "string", "format": "uuid"})


@blueprint.get("")
@documented({200: answers.Sessions}, access="user", raises=(InvalidBody,), takes=(LIMIT, BEFORE))
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
    # Python refuses to read numbers of thousands of digits.
    if not text.isdecimal() or len(text) > 3 or not 1 <= int(text) <= MAX_PAGE:
        raise InvalidBody(f"limit: a number from 1 to {MAX_PAGE} is needed.", field="limit")
    return int(text)


def _before() -> UUID | None:
    text = request.args.get("before")
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidBody("before: the session_id of the last page's end is needed.", field="before") from None
