"""Errors in the shape of OpenAI's API, for all that is below /v1.

Problem details (web/middleware/problems.py) are put into that shape on their way out, with all their headers. So what
refuses a request before any operation sees it speaks the client's language too, and the packages of OpenAI raise
their own classes, which they choose by the status.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from flask import Flask, Response, json, request
from pydantic import BaseModel, Field

from core.errors import ContextLengthExceeded, InvalidBody, ProviderFailed, SwitchboardError, UnknownModel
from core.llm.providers.base import ErrorKind
from web.openapi.declaration import ErrorShape

ROOT = "/v1"
"""What the paths of this API begin with, and a path itself: a base URL that was asked by hand."""


class OpenAIErrorDetails(BaseModel):
    """What went wrong."""

    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None
    code: str | None = Field(examples=["model_not_found"])


class OpenAIError(BaseModel):
    """An error, as OpenAI's API has it."""

    error: OpenAIErrorDetails


class InvalidRequest(InvalidBody):
    """A field of the body is missing, of the wrong type, out of range or not supported. `field` is its path."""


class PromptFiltered(InvalidRequest):
    """The filter of the model's server has refused the conversation."""

    slug, title = "content-filter", "The conversation was refused by a filter"


class Told(NamedTuple):
    """What of a problem is told in another way than its status and slug say."""

    status: int
    code: str
    message: str | None = None


TOLD: Mapping[str, Told] = {
    "invalid-body": Told(400, "invalid_value"),
    "context-length-exceeded": Told(400, "context_length_exceeded"),
    "content-filter": Told(400, "content_filter"),
    "unknown-model": Told(404, "model_not_found", "This model is not on offer; GET /v1/models lists those that are."),
    "login-required": Told(401, "invalid_api_key"),
    "login-invalid": Told(401, "invalid_api_key"),
    "token-invalid": Told(401, "invalid_api_key"),
    "nothing-to-stop": Told(400, "response_not_cancellable"),
    "rate-limited": Told(429, "rate_limit_exceeded"),
}
"""By the problem's slug. OpenAI's clients choose their classes by the status, and people look at the code."""
TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
"""By the status; other statuses are invalid requests below 500, and server errors from there on."""


LASTING = {
    *(ErrorKind.EMPTY, ErrorKind.REJECTED, ErrorKind.MISCONFIGURED, ErrorKind.MISSING_KEY),
    *(ErrorKind.UNAUTHORIZED, ErrorKind.MODEL_NOT_FOUND, ErrorKind.QUOTA),
}
"""Reasons of a failed answer that another request a second later would have, too. OpenAI's packages send one twice
more after each 502, unless they are told not to: an empty answer would be paid for three times."""


def error_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an answer that tells of a problem, which is given as problem details."""
    slug = str(problem["type"]).rpartition("/")[2]
    told = TOLD.get(slug, Told(int(problem["status"]), slug.replace("-", "_")))
    field = problem.get("field")
    return {
        "error": {
            "message": told.message or str(problem.get("detail") or problem["title"]),
            "type": TYPES.get(told.status, "invalid_request_error" if told.status < 500 else "server_error"),
            "param": _path(str(field)) if field else None,
            "code": told.code,
        }
    }


def status_of(slug: str, status: int) -> int:
    """The status with which a problem of this slug, whose own status is given, is told."""
    return TOLD[slug].status if slug in TOLD else status


def register(app: Flask) -> None:
    """Put every problem below /v1 into OpenAI's shape."""
    app.after_request(_reshape)


def _reshape(response: Response) -> Response:
    if f"{request.path}/".startswith(f"{ROOT}/") and response.mimetype == "application/problem+json":
        problem = json.loads(response.get_data())
        response.status_code = status_of(str(problem["type"]).rpartition("/")[2], response.status_code)
        response.set_data(json.dumps(error_of(problem)))
        response.content_type = "application/json"
        if problem.get("reason") in LASTING:
            response.headers["X-Should-Retry"] = "false"
    return response


def _path(field: str) -> str:
    """`messages.3.content` as OpenAI writes it: `messages[3].content`."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", field)


def for_failed_answer(problem: Mapping[str, Any], model: str) -> SwitchboardError:
    """The error that a request ends with whose answer has failed, by the problem of its terminal event."""
    detail, reason = str(problem.get("detail") or problem.get("title")), problem.get("reason")
    if reason == "too-long":
        limit, tokens = problem.get("limit"), problem.get("tokens")
        figures = (
            f" This model's maximum context length is {limit} tokens; the messages have about {tokens}."
            if limit and tokens and tokens > limit
            else ""
        )
        return ContextLengthExceeded(
            f"The messages, with the room for an answer, are more than {model} takes.{figures}", field="messages"
        )
    if reason == "filtered":
        return PromptFiltered(detail, field="messages")
    if problem.get("type") == f"/problems/{UnknownModel.slug}":
        return UnknownModel(field="model")
    return ProviderFailed(detail, reason=reason)


SHAPE = ErrorShape("application/json", OpenAIError, lambda error: status_of(error.slug, error.status))
"""How the operations below /v1 tell of errors."""
