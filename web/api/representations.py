"""Answers that several handlers give: a session, a worker's reply about one, and what keeps them out of caches."""

from typing import Any

from flask import Response, jsonify, request

from core.messaging.replies import Reply
from core.sessions.queries import Session
from web.commands import result_of
from web.context import context


def described(session: Session, **more: Any) -> Response:
    """The session as an answer, with its version as the ETag."""
    response = jsonify(**context().runtime.sessions.describe(session), **more)
    response.set_etag(str(session.version))
    return personal(response)


def answer(reply: Reply, status: int) -> Response:
    """A worker's reply about a session as a response; 202 while there is none."""
    if reply.state == "pending":
        response = jsonify(state="pending")
        response.status_code = 202
        response.headers["Location"] = f"/tasks/{reply.task_id}"
        if prefers_async():
            response.headers["Preference-Applied"] = "respond-async"
        return personal(response)
    result = result_of(reply).result or {}
    response = jsonify(result)
    response.status_code = status
    response.set_etag(str(result["version"]))
    return personal(response)


def personal(response: Response) -> Response:
    """Keep an answer about one person out of every cache."""
    response.headers["Cache-Control"] = "no-store"
    return response


def prefers_async() -> bool:
    """Whether the client would rather not wait (RFC 7240)."""
    preferences = ",".join(request.headers.getlist("Prefer")).split(",")
    return any(preference.split(";")[0].strip().lower() == "respond-async" for preference in preferences)
