"""What can go wrong, as the domain names it.

Each error knows its problem type, title and HTTP status (RFC 9457), so that a router only has to pass it on.
"""

from typing import Any, ClassVar


class SwitchboardError(Exception):
    """The base of all errors that a caller is told about. `detail` is for people and holds no secrets."""

    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong"
    status: ClassVar[int] = 500
    detail: str = "The server met an unexpected condition."

    def __init__(self, detail: str | None = None, *, retry_after: int | None = None, **extra: Any) -> None:
        self.detail = detail or type(self).detail
        self.retry_after = retry_after
        """Seconds after which trying again makes sense, or None."""
        self.extra = extra
        super().__init__(self.detail)

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 problem details object."""
        return {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }


class SessionRequired(SwitchboardError):
    """No credential was sent where one is needed."""

    slug, title, status = "session-required", "A session is required", 401
    detail = "Send the session's cookie, or X-Session-ID: <session_id>.<secret>."


class SessionInvalid(SwitchboardError):
    """The credential names no session, is malformed, or its secret is wrong."""

    slug, title, status = "session-invalid", "The session is not valid", 401
    detail = "This credential belongs to no session."


class SessionExpired(SwitchboardError):
    """The session's idle or absolute lifetime is over."""

    slug, title, status = "session-expired", "The session has expired", 401
    detail = "This session has expired; create a new one."


class NotOwner(SwitchboardError):
    """The session belongs to somebody else."""

    slug, title, status = "not-owner", "Not your session", 403
    detail = "This session belongs to somebody else."


class UnknownModel(SwitchboardError):
    """The model is not on offer."""

    slug, title, status = "unknown-model", "Unknown model", 422
    detail = "This model is not on offer; GET /config/models lists those that are."


class VersionConflict(SwitchboardError):
    """The caller's version of the session is not the current one."""

    slug, title, status = "version-conflict", "The session has changed", 412
    detail = "If-Match names an older version of the session; read it again."


class GenerationInProgress(SwitchboardError):
    """The session already has a live generation."""

    slug, title, status = "generation-in-progress", "An answer is still being written", 409
    detail = "Wait for the answer to end before sending the next message."


class InvalidBody(SwitchboardError):
    """A field of the body is missing, unknown, of the wrong type or out of range."""

    slug, title, status = "invalid-body", "The request body is not valid", 422


class MessageTooLarge(SwitchboardError):
    """The message is longer than the limit."""

    slug, title, status = "message-too-large", "The message is too large", 413


class UnknownTask(SwitchboardError):
    """There is no such task, or its answer is no longer kept."""

    slug, title, status = "unknown-task", "Unknown task", 404
    detail = "There is no such task, or its result is no longer kept."


class Unavailable(SwitchboardError):
    """A part that this request needs is away."""

    slug, title, status = "unavailable", "Temporarily unavailable", 503
    detail = "A part of the service is away; try again in a moment."


class QueueSlow(Unavailable):
    """No worker replied in time, and the request can't be answered without."""

    slug, title = "queue-slow", "The workers are busy"
    detail = "No worker replied in time; nothing was lost, try again in a moment."


class ProviderFailed(SwitchboardError):
    """A model's server could not give an answer. `detail` is a plain reason."""

    slug, title, status = "provider-failed", "The model could not answer", 502


class GenerationLost(SwitchboardError):
    """The worker that wrote the answer is gone."""

    slug, title, status = "generation-lost", "The answer was interrupted", 503
    detail = "The worker that wrote this answer stopped; what it had written is kept. Please ask again."
