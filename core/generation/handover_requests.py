"""A person's request that another model carry on the answer that is being written: a note in its row."""

import logging
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from sqlalchemy import and_, case, func, null, update
from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.damage import Damaged
from core.conversation.event_log import EventLog
from core.conversation.message import Message
from core.errors import Unavailable
from core.stores.tables import IS_LIVE, IS_QUEUED, Generation

logger = logging.getLogger(__name__)

_UNBEGUN = and_(IS_QUEUED, Generation.attempt == 0)


class HandoverRequests:
    """Notes them. The worker that writes the answer looks for them (core/generation/heartbeat.py)."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def want_handover(self, session_id: UUID, model: str, db_session: DatabaseSession) -> Callable[[], None] | None:
        """Have the session's live answer carried on by the model, in the caller's transaction; what is to be done
        after its commit, or None when there is no answer of another model.

        One that no worker has begun becomes the model's from its beginning. What was wanted before is replaced. The
        caller has locked the session.
        """
        wanted = (
            update(Generation)
            .where(
                Generation.session_id == session_id,
                IS_LIVE,
                Generation.stop_requested.is_(False),
                func.coalesce(Generation.handover_to, Generation.model) != model,
            )
            .values(
                model=case((_UNBEGUN, model), else_=Generation.model),
                handover_to=case((_UNBEGUN, null()), (Generation.model == model, null()), else_=model),
            )
            .returning(Generation.id, _UNBEGUN)
            .execution_options(synchronize_session=False)
        )
        found = db_session.execute(wanted).one_or_none()
        if found is None:
            return None
        generation_id, unbegun = found
        return lambda: self._tell(session_id, generation_id, model, unbegun=bool(unbegun))

    def _tell(self, session_id: UUID, generation_id: UUID, model: str, *, unbegun: bool) -> None:
        try:
            if unbegun:
                self._rename(session_id, generation_id, model)
            else:
                self._log.request_handover(session_id, generation_id)
        except Unavailable as error:
            # The worker finds it in the row when it renews its lease.
            logger.warning("a handover could not be told at once: %s", error.reason)

    def _rename(self, session_id: UUID, generation_id: UUID, model: str) -> None:
        try:
            answer = Message.load(self._log.live_answer(session_id) or "")
        except Damaged:
            return
        self._log.rename_model(session_id, generation_id, replace(answer, model=model).dump())
