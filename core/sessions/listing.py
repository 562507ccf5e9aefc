"""A user's list of sessions, as statements that are put together once: that takes as long as running them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Uuid, bindparam, exists, select, tuple_
from sqlalchemy.orm import defer

from core.stores.tables import ACTIVITY, IS_LIVE, Generation, GenerationState, Session, UtcDateTime


class Place(NamedTuple):
    """Where a session stands in its owner's list: the last active first, and of two at once that with the larger
    id."""

    active_at: datetime
    session_id: UUID


LAST_END = (
    select(Generation.finished_at)
    .where(Generation.session_id == Session.id, Generation.state.in_((GenerationState.DONE, GenerationState.FAILED)))
    .order_by(Generation.id.desc())
    .limit(1)
    .scalar_subquery()
)
"""When the last of a session's answers has ended. A stopped one is no news: its owner has stopped it."""
IS_ANSWERING = exists().where(Generation.session_id == Session.id, IS_LIVE)

_LISTED = (
    Session.owner_id == bindparam("owner_id"),
    Session.expires_at > bindparam("now"),
    Session.ephemeral.is_(False),
)
_AFTER = tuple_(ACTIVITY, Session.id) < tuple_(
    bindparam("active_at", type_=UtcDateTime()), bindparam("session_id", type_=Uuid())
)


def listing(*columns: ColumnElement[Any], continued: bool) -> Select[Any]:
    """A page of a user's living sessions, last active first, without their instructions, with these columns beside
    each; `continued`: of those after a place. Its values are those of `parameters`."""
    listed = select(Session, *columns).where(*_LISTED).options(defer(Session.system_prompt))
    if continued:
        listed = listed.where(_AFTER)
    return listed.order_by(ACTIVITY.desc(), Session.id.desc()).limit(bindparam("limit"))


def parameters(owner_id: UUID, now: datetime, before: Place | None, limit: int) -> Mapping[str, Any]:
    """The values of a listing."""
    return {"owner_id": owner_id, "now": now, "limit": limit, **(before._asdict() if before else {})}


PLAIN = {continued: listing(continued=continued) for continued in (False, True)}
MARKED = {continued: listing(IS_ANSWERING, LAST_END, continued=continued) for continued in (False, True)}
"""With its marks."""
