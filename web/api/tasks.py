"""/tasks: what became of a command that was answered with 202."""

import hmac

from flask import Blueprint, Response, jsonify

from core.errors import NotOwner, SessionRequired, UnknownTask
from core.messaging.replies import Reply, holder_of
from core.secret import parse_id
from core.sessions.credential import Credential
from web.api.session import personal
from web.auth import current_session
from web.auth.credentials import session_credential
from web.auth.principal import current_principal
from web.context import parts
from web.openapi.operation import documented
from web.schemas import responses

blueprint = Blueprint("tasks", __name__, url_prefix="/tasks")


@blueprint.get("/<task_id>")
@documented({200: responses.Task}, access="session", raises=(UnknownTask,))
def task(task_id: str) -> Response:
    """The task's state, and its result or problem, for the holder of the session it is about."""
    credential = session_credential()
    if credential is None:
        raise SessionRequired
    reply = parts().runtime.replies.find(task_id) if _is_task_id(task_id) else None
    if reply is None:
        raise UnknownTask
    if reply.session_id != str(credential.session_id):
        raise NotOwner
    # A creation that failed has made no row, so its sender is known by what the command was sent with.
    if not _is_holder(reply, credential):
        current_session.current_session()
    return personal(jsonify(_described(reply)))


def _is_holder(reply: Reply, credential: Credential) -> bool:
    """Whether the request proves to be the command's sender."""
    principal = current_principal()
    mine = [holder_of(None, credential.secret_hash)] if credential.secret_hash else []
    mine += [holder_of(principal.user_id, None)] if principal else []
    return any(hmac.compare_digest(reply.holder, each) for each in mine)


def _is_task_id(text: str) -> bool:
    """Whether the text can be a task's id; others need not be looked for."""
    return parse_id(text) is not None


def _described(reply: Reply) -> dict[str, object]:
    described: dict[str, object] = {"state": reply.state}
    if reply.result is not None:
        described["result"] = reply.result
    if reply.problem is not None:
        described["problem"] = reply.problem
    return described
