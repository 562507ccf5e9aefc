"""Refusals that an operator may want to know of, for the audit log."""

from typing import cast

from flask import g

from core.auth.principal import Principal
from core.errors import NotOwner, RateLimited, SwitchboardError
from core.operations.audit import Kind
from web.auth.credentials import named_session
from web.context import context


def note(error: SwitchboardError) -> None:
    """Write it down if it is one: who, if it was proved, and which session or limit. Never from where."""
    principal = cast("Principal | None", g.get("principal"))
    user_id = principal.user_id if principal else None
    audit = context().runtime.audit
    if isinstance(error, NotOwner):
        audit.refusal(Kind.NOT_OWNER, user_id=user_id, session_id=named_session())
    elif isinstance(error, RateLimited):
        audit.refusal(Kind.LIMITED, user_id=user_id, detail=str(error.extra["limit"]))
