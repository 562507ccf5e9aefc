"""/sessions: a user's sessions, the search in them, and the stream of what changes in any of them."""

from datetime import UTC, datetime
from uuid import UUID

from flask import Blueprint, Response

from core.auth.principal import Principal
from core.errors import InvalidBody
from core.limits.status import RateLimited
from core.sessions.queries import Place
from core.sessions.search import MAX_QUERY
from web.api import parameters
from web.api.events import STREAM_HEADERS
from web.api.operation import operation
from web.api.representations import listed_session_answer
from web.api.stream_slot import take_stream_slot
from web.auth.access import USER
from web.context import context
from web.limits import change_limits
from web.openapi.declaration import Parameter, StreamOf
from web.schemas import responses
from web.streaming.door import wait_for_turn
from web.streaming.slots import held
from web.streaming.user_reader import UserReader

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")

MAX_DIGITS = 16
"""Of microseconds since 1970: until the year 2286."""


def _cursor(place: Place) -> str:
    return f"{int(place.active_at.timestamp() * 1_000_000)}-{place.session_id}"


def _parse_cursor(text: str | None) -> Place | None:
    if text is None:
        return None
    moment, _, session_id = text.partition("-") if len(text) <= MAX_DIGITS + 1 + 36 else ("", "", "")
    try:
        if not (moment.isascii() and moment.isdecimal()):
            raise ValueError
        seconds, microseconds = divmod(int(moment), 1_000_000)
        active_at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
        return Place(active_at, UUID(session_id))
    except (ValueError, OverflowError, OSError):
        raise InvalidBody("before: the `next` of the last page is needed.", field="before") from None


def _parse_query(text: str | None) -> str | None:
    if text is not None and len(text) > MAX_QUERY:
        raise InvalidBody(f"q: it has {len(text)} characters; at most {MAX_QUERY} are taken.", field="q")
    return text if text and text.strip() else None


LIMIT = parameters.page_size(100, 50)
BEFORE = Parameter(
    "before", "query", "The `next` of the last page.", {"type": "string"}, "before", _parse_cursor, (InvalidBody,)
)
QUERY = Parameter(
    "q",
    "query",
    "Words, emoji and other symbols that are all in the title or in one message, the last word perhaps only begun. "
    "Blanks alone: as if it were left out.",
    {"type": "string", "maxLength": MAX_QUERY},
    "query",
    _parse_query,
    (InvalidBody,),
)


@blueprint.get("")
@operation(access=USER, takes=(LIMIT, BEFORE, QUERY), answers={200: responses.Sessions}, raises=(RateLimited,))
def sessions(principal: Principal, limit: int, before: Place | None, query: str | None) -> responses.Sessions:
    """List the user's sessions, last active first, a page at a time; with `q` those in which that is found."""
    queries = context().services.session_queries
    if query is None:
        found = queries.list_sessions(principal.user_id, before=before, limit=limit + 1)
    else:
        change_limits.admit_uncounted("search", principal.user_id)
        found = queries.search_sessions(principal.user_id, query, before=before, limit=limit + 1)
    page = found[:limit]
    listed = [listed_session_answer(each) for each in page]
    return responses.Sessions(sessions=listed, next=_cursor(page[-1].place) if len(found) > limit else None)


@blueprint.get("/events")
@operation(access=USER, answers={200: StreamOf(responses.UserEvent)}, raises=(RateLimited,), safe=False)
def events(principal: Principal) -> Response:
    """Tell what changes in any of the user's sessions, from now on. It begins with `reset`: fetch the list."""
    wait_for_turn()
    take_stream_slot()
    reader = UserReader(context().stream_sources, principal)
    return Response(held(reader.read(), reader.leave), headers=STREAM_HEADERS, direct_passthrough=True)
