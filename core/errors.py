"""What can go wrong, as the domain names it.

Each error knows its problem type, title and HTTP status (RFC 9457), so that a router only has to pass it on.
"""

from typing import Any, ClassVar


class ConfigurationError(Exception):
    """What the operator has configured can't be used. The message names it, says what would be right, and has no
    secrets: logs show it."""


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


class SessionInvalid(SwitchboardError):
    """The credential names no session, is malformed, or its secret is wrong."""

    slug, title, status = "session-invalid", "The session is not valid", 401
    detail = "This credential belongs to no session."


class SessionExpired(SwitchboardError):
    """The session's idle or absolute lifetime is over."""

    slug, title, status = "session-expired", "The session has expired", 401
    detail = "This session has expired; create a new one."


class LoginRequired(SwitchboardError):
    """The operation is for users, and the request is not authenticated as one."""

    slug, title, status = "login-required", "A login is required", 401
    detail = "Log in, or send an API key or token."


class LoginInvalid(SwitchboardError):
    """The login cookie is malformed or forged, or its login has ended or expired."""

    slug, title, status = "login-invalid", "You are logged out", 401
    detail = "This login has ended; log in again."


class LoginFailed(SwitchboardError):
    """The e-mail address or the password is wrong; the answer does not say which."""

    slug, title, status = "login-failed", "The login failed", 401
    detail = "The e-mail address or the password is wrong."


class TokenInvalid(SwitchboardError):
    """The bearer token is neither a valid API key nor a valid token of the identity provider."""

    slug, title, status = "token-invalid", "The token is not valid", 401
    detail = "This API key or token is unknown, revoked or expired."


class RegistrationClosed(SwitchboardError):
    """Only the operator creates accounts on this server."""

    slug, title, status = "registration-closed", "Registration is closed", 403
    detail = "New accounts can't be made here; ask the operator."


class EmailTaken(SwitchboardError):
    """The e-mail address has an account already."""

    slug, title, status = "email-taken", "The e-mail address is taken", 409
    detail = "An account has this e-mail address already; log in instead."


class PasswordRefused(SwitchboardError):
    """The password is too short, too long or too common. `detail` says which."""

    slug, title, status = "password-refused", "Choose another password", 422


class NoPassword(SwitchboardError):
    """The account has no password to change."""

    slug, title, status = "no-password", "The account has no password", 409
    detail = "This account logs in through its identity provider; change the password there."


class UnknownLogin(SwitchboardError):
    """The user has no such login."""

    slug, title, status = "unknown-login", "Unknown login", 404
    detail = "You have no such login; it may have ended."


class UnknownKey(SwitchboardError):
    """The user has no such API key."""

    slug, title, status = "unknown-key", "Unknown API key", 404
    detail = "You have no such API key; it may have been revoked."


class TooManyKeys(SwitchboardError):
    """The user has the most API keys that are allowed."""

    slug, title, status = "too-many-keys", "Too many API keys", 409
    detail = "Revoke a key that you no longer need first."


class TooManySessions(SwitchboardError):
    """The user has the most sessions that are allowed."""

    slug, title, status = "too-many-sessions", "Too many sessions", 409

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"You have {limit:,} sessions, as many as one user may have; delete some that you no longer need first.",
            limit=limit,
        )


class NotOwner(SwitchboardError):
    """The session belongs to another user."""

    slug, title, status = "not-owner", "Not your session", 403
    detail = "This session belongs to another user."


class UnknownModel(SwitchboardError):
    """The model is not on offer."""

    slug, title, status = "unknown-model", "Unknown model", 422
    detail = "This model is not on offer; GET /config/models lists those that are."


class VersionConflict(SwitchboardError):
    """The caller's version of the session is not the current one."""

    slug, title, status = "version-conflict", "The session has changed", 412
    detail = "The version that was named is an older one; read the session again."


class GenerationInProgress(SwitchboardError):
    """The session already has a live generation."""

    slug, title, status = "generation-in-progress", "An answer is still being written", 409
    detail = "Wait for the answer to end, or stop it."


class TooManyWaiting(SwitchboardError):
    """As many questions wait in the session as may."""

    slug, title, status = "too-many-waiting", "Too many questions wait", 409

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} questions wait in this session already; take one back, or ask again when one is answered.",
            limit=limit,
        )


class NotWaiting(SwitchboardError):
    """No such question waits in the session."""

    slug, title, status = "not-waiting", "This question does not wait", 404
    detail = "No question of this id waits in this session; its turn may have come."


class NothingToStop(SwitchboardError):
    """No answer is being written."""

    slug, title, status = "nothing-to-stop", "No answer is being written", 409
    detail = "The answer has ended already."


class NoSuchMessage(SwitchboardError):
    """The session has no message with the id that was named."""

    slug, title, status = "unknown-message", "Unknown message", 422


class NothingToRegenerate(SwitchboardError):
    """There is no question that could be answered again."""

    slug, title, status = "nothing-to-regenerate", "There is nothing to answer again", 409
    detail = "No question belongs to this answer, or nothing has been asked yet."


class AnswerWhole(SwitchboardError):
    """The answer can't be gone on with."""

    slug, title, status = "answer-whole", "There is nothing to go on with", 409
    detail = "Only an answer that ended with the finish_reason `length` can be continued."


class TooManyBranches(SwitchboardError):
    """As many messages follow the same one as may."""

    slug, title, status = "too-many-branches", "Too many versions", 409

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} messages beside this one, as many as there may be.", limit=limit)


class UnknownResponse(SwitchboardError):
    """The user has no such answer."""

    slug, title, status = "unknown-response", "Unknown response", 404
    detail = "You have no response of this id; it may have been deleted, or its conversation has expired."


class UnknownConversation(SwitchboardError):
    """The user has no such session."""

    slug, title, status = "unknown-conversation", "Unknown conversation", 404
    detail = "You have no conversation of this id; it may have been deleted, or have expired."


class UnknownItem(SwitchboardError):
    """The conversation has no such message."""

    slug, title, status = "unknown-item", "Unknown item", 404
    detail = "This conversation has no item of this id."


class InvalidBody(SwitchboardError):
    """A field of the body is missing, unknown, of the wrong type or out of range."""

    slug, title, status = "invalid-body", "The request body is not valid", 422


class ContextLengthExceeded(InvalidBody):
    """The conversation that a request brings is longer than the context of the model."""

    slug, title = "context-length-exceeded", "The conversation is too long"


class MessageTooLarge(SwitchboardError):
    """The message is longer than the limit."""

    slug, title, status = "message-too-large", "The message is too large", 413


class Unavailable(SwitchboardError):
    """A part of the service that the request needs does not answer."""

    slug, title, status = "unavailable", "Temporarily unavailable", 503
    detail = "A part of the service is away; try again in a moment."

    @property
    def cause(self) -> BaseException:
        """The driver's exception, or this one where there is none. For operators: it may name hosts and addresses."""
        return self.__cause__ or self

    @property
    def reason(self) -> str:
        """In words for the log: the cause's class, for its own words may quote people."""
        return type(self.cause).__name__


class NotMigrated(Unavailable):
    """The database lacks a table or a column of this version's."""

    detail = "The database is not ready; try again in a moment."

    @property
    def reason(self) -> str:
        """What the operator has to do."""
        return "the database is not migrated; run: switchboard migrate"


class RightMissing(Unavailable):
    """The database's user may not do what was asked of it. `why` is for operators."""

    detail = "The database is not ready; try again in a moment."

    def __init__(self, why: str, *, retry_after: int | None = None) -> None:
        super().__init__(retry_after=retry_after)
        self.why = why

    @property
    def reason(self) -> str:
        """What it may not do, in the database's words."""
        return f"the database's user lacks a right: {self.why}"


class WritesRefused(Unavailable):
    """The database answers, and takes no writes. `why` is for operators."""

    detail = "The database takes no writes; try again in a moment."

    def __init__(self, why: str, *, retry_after: int | None = None) -> None:
        super().__init__(retry_after=retry_after)
        self.why = why

    @property
    def reason(self) -> str:
        """What keeps it from that."""
        return self.why


class ProviderFailed(SwitchboardError):
    """A model's server could not give an answer. `detail` is a plain reason."""

    slug, title, status = "provider-failed", "The model could not answer", 502


class GenerationLost(SwitchboardError):
    """The worker that wrote the answer is gone."""

    slug, title, status = "generation-lost", "The answer was interrupted", 503
    detail = "The worker that wrote this answer stopped; what it had written is kept. Please ask again."


class QueueSlow(Unavailable):
    """No worker replied in time, and the request can't be answered without."""

    slug, title = "queue-slow", "The workers are busy"
    detail = "No worker replied in time; nothing was lost, try again in a moment."
