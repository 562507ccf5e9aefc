"""What can go wrong with a request before the domain is asked, or in waiting for its answer."""

from core.errors import SwitchboardError


class SessionRequired(SwitchboardError):
    """No credential was sent where one is needed."""

    slug, title, status = "session-required", "A session is required", 401
    detail = "Send the session's cookie, or X-Session-ID: <session_id>.<secret>."


class LoginOnly(SwitchboardError):
    """The operation needs a login at a browser; API keys and tokens don't open it.

    Its problem type is that of core.errors.LoginRequired, as what the client has to do is the same. The status tells
    them apart: 401 without a user, 403 where one is known.
    """

    slug, title, status = "login-required", "A login is required", 403
    detail = "Log in in a browser to do this; keys and tokens may not."


class CrossSite(SwitchboardError):
    """The request was sent by a page of another site, as far as can be told. `detail` says from what."""

    slug, title, status = "cross-site", "Sent by another site", 403
    detail = "This request comes from a page of another site."


class WrongHost(SwitchboardError):
    """The request is for a server of another name."""

    slug, title, status = "wrong-host", "Not this server's name", 421
    detail = (
        "This server answers to the names of its own machine only, such as localhost. If people reach it under "
        "another, its operator sets SWITCHBOARD_HOSTS to that name, or SWITCHBOARD_TRUSTED_PROXIES to the number "
        "of proxies before it."
    )


class OperatorOnly(SwitchboardError):
    """The operation is for the operator."""

    slug, title, status = "operator-only", "For the operator only", 403
    detail = "Ask from the server's own machine, not through a proxy, or send the operator's token."


class IdempotencyKeyInvalid(SwitchboardError):
    """The header Idempotency-Key holds no key."""

    slug, title, status = "idempotency-key-invalid", "Not an idempotency key", 400
    detail = "Idempotency-Key takes 1 to 255 printable ASCII characters, in quotes or without, such as a UUID."


class IdempotencyMismatch(SwitchboardError):
    """The key was used before, for another request."""

    slug, title, status = "idempotency-mismatch", "This key belongs to another request", 422
    detail = "This Idempotency-Key was used with another body; use a new key for a new request."


class IdempotencyInFlight(SwitchboardError):
    """The first request with this key has not been answered yet."""

    slug, title, status = "idempotency-in-flight", "The first try is still under way", 409
    detail = "A request with this Idempotency-Key is being carried out; ask again in a moment."


class PartOfConversation(SwitchboardError):
    """The response is one of several in its conversation, which is deleted as a whole only."""

    slug, title, status = "part-of-conversation", "Part of a conversation", 400
    detail = "Delete the conversation: it has other responses."


class UnknownTask(SwitchboardError):
    """The task is unknown, or its result is no longer kept."""

    slug, title, status = "unknown-task", "Unknown task", 404
    detail = "This task is unknown, or its result is no longer kept."


class PositionLost(SwitchboardError):
    """The place in the stream can't be found any more."""

    slug, title, status = "position-lost", "The place in the stream is lost", 410
    detail = (
        "This answer's events are no longer kept from the first one on. Read the conversation's messages instead."
    )
