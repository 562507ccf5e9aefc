"""/tasks: what became of a command that was answered with 202."""

from uuid import UUID

from flask import Blueprint, Response, jsonify

from core.errors import NotOwner, SessionRequired, UnknownTask
from core.replies import Reply
from web import admission, answers
from web.credentials import session_credential
from web.documented import documented
from web.parts import parts
from web.session import personal

blueprint = Blueprint("tasks", __name__, url_prefix="/tasks")


@blueprint.get("/<task_id>")
@documented({200: answers.Task}, access="session", raises=(UnknownTask,))
def task(task_id: str) -> Response:
    """The task's state, and its result or problem, for the holder of the session it is about."""
    reply = parts().runtime.replies.find(task_id)
    credential = session_credential()
    if credential is None:
        raise SessionRequired
    if reply is None:
        raise UnknownTask
    if UUID(reply.session_id) != credential.session_id:
        raise NotOwner
    if reply.result is not None:
        admission.current_session()  # there is a row now: the secret must be its own
    return personal(jsonify(_described(reply)))


def _described(reply: Reply) -> dict[str, object]:
    described: dict[str, object] = {"state": reply.state}
    if reply.result is not None:
        described["result"] = reply.result
    if reply.problem is not None:
        described["problem"] = reply.problem
    return described
