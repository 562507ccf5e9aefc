"""/tasks: the state of a command that was answered with 202."""

import hmac

from flask import Blueprint

from core.errors import NotOwner
from core.messaging.replies import Reply, holder_of
from core.secret import parse_id
from core.sessions.credential import Credential
from web.api.operation import operation
from web.api.representations import task_answer
from web.auth import current_session
from web.auth.access import PRESENTED_CREDENTIAL
from web.auth.principal import current_principal
from web.context import context
from web.errors import UnknownTask
from web.schemas import responses

blueprint = Blueprint("tasks", __name__, url_prefix="/tasks")


@blueprint.get("/<task_id>")
@operation(access=PRESENTED_CREDENTIAL, answers={200: responses.Task}, raises=(UnknownTask,))
def task(task_id: str, credential: Credential) -> responses.Task:
    """Read a command's state, and its result or problem, as the holder of the session that it is about."""
    reply = context().services.replies.find(task_id) if _is_task_id(task_id) else None
    if reply is None:
        raise UnknownTask
    if reply.session_id != str(credential.session_id):
        raise NotOwner
    # A creation that failed has made no row, so its sender is known by what the command was sent with.
    if not _is_sender(reply, credential):
        current_session.current_session()
    return task_answer(reply)


def _is_sender(reply: Reply, credential: Credential) -> bool:
    """Whether the request proves to be the command's sender."""
    principal = current_principal()
    mine = [holder_of(None, credential.secret_hash)] if credential.secret_hash else []
    mine += [holder_of(principal.user_id, None)] if principal else []
    return any(hmac.compare_digest(reply.holder, each) for each in mine)


def _is_task_id(text: str) -> bool:
    """Whether the text can be a task's id; others need not be looked for."""
    return parse_id(text) is not None
