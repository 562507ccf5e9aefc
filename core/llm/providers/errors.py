"""What a server's refusal means: pure, over its status, its headers and its body, however they are shaped."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from core.llm.providers.base import ErrorKind, ProviderError
from core.llm.providers.error_shapes import (
    MAX_MESSAGE_LENGTH,
    code_name,
    codes_of,
    numbers_among,
    parameters_named,
    plain,
    records_of,
    texts_of,
)
from core.llm.providers.error_words import CODES, is_of_a_rate, kind_by_words, leaves_nothing, ran_out
from core.llm.providers.firewalls import is_firewalls
from core.llm.providers.retry_after import rate_reset, retry_after
from core.llm.providers.token_counts import max_output_tokens, token_counts

LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_new_tokens")
"""What servers call the limit of an answer."""
SOON = 3600.0
"""Seconds: what is there again before is a rate, and no quota."""
_LIMIT_IS_WRONG = re.compile(
    rf"(?:^|[:-] |\bfewer )\W*(?:(?:invalid|range of) )?\W*(?:{'|'.join(LIMITS)})\b", re.IGNORECASE
)
"""How sentences begin that are about it, and not about the conversation."""


ABOUT_ONE_REQUEST = (400, 413, 422)
"""A status with which no server speaks of how often it was asked, whatever words it has."""


class Complaint(NamedTuple):
    """An error as a server told it."""

    kind: ErrorKind
    status: int | None
    """The HTTP status, or the number that stands for it in the body."""
    message: str = ""
    """The server's own words, as they came: not to be shown before they are redacted."""
    named: frozenset[str] = frozenset()
    """The parameters that the body names in a place of their own."""
    retry_after: float | None = None
    prompt_tokens: int | None = None
    limit_tokens: int | None = None
    of_the_limit: bool = False
    """Whether it is the limit of the answer that is refused, whatever the conversation's length."""
    most_tokens: int | None = None
    """How great that limit may be, if the server says so."""
    counts_both: bool = False
    """Whether `prompt_tokens` may have the limit of the answer in it: a rate is charged with both."""
    ran_out: bool = False
    """Whether the room for the answer was used up while it was being written."""


class RequestRefused(Exception):
    """A server has refused a request, or told an error in the middle of an answer."""

    def __init__(self, complaint: Complaint) -> None:
        self.complaint = complaint
        super().__init__(complaint.kind)  # no more: a traceback must not quote the server


def complaint_of(body: Any, status: int | None = None, headers: Mapping[str, str] | None = None) -> Complaint:
    """What the body says: JSON of any shape, or text. `status`: of the response, unless it was a success."""
    headers = headers or {}
    records = list(records_of(body))
    texts = [plain(body)] if isinstance(body, str) else [text for record in records for text in texts_of(record)]
    message = " ".join(": ".join(dict.fromkeys(text for text in texts if text))[:MAX_MESSAGE_LENGTH].split())
    codes = [code for record in records for code in codes_of(record)]
    status = status or next((code for code in numbers_among(codes) if 400 <= code < 600), None)
    wait = retry_after(headers, records, message)
    named = frozenset(parameters_named(records))
    prompt, limit = token_counts(records, message)
    of_the_limit = not named.isdisjoint(LIMITS) or _LIMIT_IS_WRONG.search(message) is not None
    of_the_limit = of_the_limit and prompt is None and not leaves_nothing(message)
    kind = _kind(status, [code for code in codes if isinstance(code, str)], message, wait)
    if status == 404 and named == {"model"}:
        kind = ErrorKind.MODEL_NOT_FOUND
    if kind is ErrorKind.TOO_LONG:
        beyond = prompt is not None and limit is not None and prompt > limit
        if of_the_limit:
            kind = ErrorKind.REJECTED
        elif not beyond and (status == 429 or (status not in ABOUT_ONE_REQUEST and is_of_a_rate(message))):
            # One request alone may be more than the rate allows.
            kind = ErrorKind.RATE_LIMITED
    if is_firewalls(status, body[:MAX_MESSAGE_LENGTH] if isinstance(body, str) else message):
        kind = ErrorKind.FILTERED  # it is about this question, and no other
    if status == 429 and wait is None:  # only now: a used-up quota has such headers too, and is no rate
        wait = rate_reset(headers)
    of_the_limit = of_the_limit and kind in (ErrorKind.REJECTED, ErrorKind.QUOTA)
    return Complaint(
        kind,
        status,
        message,
        named,
        wait,
        *((prompt, limit) if kind is ErrorKind.TOO_LONG else (None, None)),
        of_the_limit=of_the_limit,
        most_tokens=max_output_tokens(message) if of_the_limit else None,
        counts_both=kind is ErrorKind.TOO_LONG and is_of_a_rate(message),
        ran_out=ran_out(message),
    )


def error_in(data: Any, name: str = "") -> Complaint | None:
    """What an event, or a document that came with a success, tells of an error; None when it tells of none."""
    match data:
        case {"error": error} if _tells(error):
            return complaint_of(data)
        case {"base_resp": {"status_code": int(code)}} if code:  # MiniMax
            return complaint_of(data)
        case {"error_code": int(code) | str(code)} | {"errcode": int(code) | str(code)} if _is_failure(code):
            return complaint_of(data)
        case {"type": "error"} | {"object": "error"} | {"success": False}:
            return complaint_of(data)
        case {"choices": _}:
            return _gateway_error(data)
        case {"errors": [_, *_]}:
            return complaint_of(data)
        case {"code": int(code) | str(code), "msg": str(message)} if message and _is_failure(code):
            return complaint_of(data)
        case {"detail": detail} if detail and "type" not in data:
            return complaint_of(data)
        case {"message": str(message)} if (
            message and _is_of_errors(data.get("type")) and _is_failure(data.get("code"))
        ):
            return complaint_of(data)
        case [{"error": error}, *_] if _tells(error):
            return complaint_of(data)
    return complaint_of(data) if name == "error" else None


def _tells(error: Any) -> bool:
    """Whether something is the matter: gateways send an empty error beside what is well."""
    if isinstance(error, dict):
        return any(value not in (None, 0, "", "0", {}, []) for value in error.values())
    return bool(error) and str(error).lower() not in ("false", "none", "null")


def _is_failure(code: Any) -> bool:
    """Whether a code in a success is one of a failure, as far as it tells."""
    return str(code).lower() not in ("0", "200", "ok", "success", "true", "false", "")


def _is_of_errors(told: Any) -> bool:
    """Whether an object of this type may be an error: one without a type, or with that of one."""
    return told is None or code_name(told) in CODES or "error" in str(told).lower()


def _gateway_error(data: dict[str, Any]) -> Complaint | None:
    """Groq tells some errors beside the choices, OpenRouter in one of them."""
    beside = data.get("x_groq")
    if isinstance(beside, dict) and beside.get("error"):
        return complaint_of(beside)
    choices = data["choices"] if isinstance(data["choices"], list) else []
    return next(
        (complaint_of(choice) for choice in choices if isinstance(choice, dict) and choice.get("error")), None
    )


def kind_of(status: int) -> ErrorKind:
    """What an HTTP status means when nothing else is known."""
    match status:
        case 401 | 403:
            return ErrorKind.UNAUTHORIZED
        case 402:
            return ErrorKind.QUOTA
        case 407:  # from the proxy
            return ErrorKind.MISCONFIGURED
        case 408 | 504 | 524:  # Cloudflare's from 520 on: this one has a connection, and hears nothing
            return ErrorKind.TIMEOUT
        case 521 | 522 | 523 | 525 | 526 | 530:  # and these have none
            return ErrorKind.UNREACHABLE
        case 413:
            return ErrorKind.TOO_LONG
        case 429 | 529:  # 529 is Anthropic's, for a server that is overloaded
            return ErrorKind.RATE_LIMITED
        case 404 | 405 | 410:  # this address is none of a model server
            return ErrorKind.UNREACHABLE
        case _ if status < 400:
            return ErrorKind.UNREACHABLE
        case _ if status < 500:
            return ErrorKind.REJECTED
    return ErrorKind.SERVER_ERROR


def as_provider_error(complaint: Complaint, provider_message: str) -> ProviderError:
    """The error for the rest of the system, with the server's words as they may be shown."""
    return ProviderError(
        complaint.kind,
        f"HTTP {complaint.status}" if complaint.status else "error in the stream",
        complaint.retry_after,
        provider_message=provider_message,
        prompt_tokens=complaint.prompt_tokens,
        limit_tokens=complaint.limit_tokens,
        status=complaint.status or 200,
    )


def _kind(status: int | None, codes: list[str], message: str, wait: float | None) -> ErrorKind:
    if status == 402:
        return ErrorKind.QUOTA
    told = [CODES[name] for code in codes if (name := code_name(code)) in CODES]
    by_words = kind_by_words(message)
    if by_words is ErrorKind.RATE_LIMITED and status in ABOUT_ONE_REQUEST:
        by_words = None
    if by_words is ErrorKind.QUOTA and ErrorKind.QUOTA not in told and wait is not None and wait < SOON:
        by_words = None  # what is there again soon is a rate
    # Words of a code that say exactly what is wrong, then those of the message, then codes that say it roughly.
    for exact in (ErrorKind.TOO_LONG, ErrorKind.FILTERED, ErrorKind.QUOTA, ErrorKind.MODEL_NOT_FOUND):
        if exact in told:
            return exact
    if by_words is not None and status not in (401, 408):
        return by_words
    rough = next(iter(told), None)
    if rough is None or (rough is ErrorKind.REJECTED and status not in (None, 400, 422)):
        return kind_of(status) if status else rough or ErrorKind.SERVER_ERROR
    if rough is ErrorKind.SERVER_ERROR and status:
        return kind_of(status)
    return rough
