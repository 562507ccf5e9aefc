"""What a server's refusal means: pure, over its status, its headers and its body, however they are shaped."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from core.providers import ErrorKind, ProviderError
from core.providers.error_words import CODES, figures, kind_by_words
from core.providers.firewalls import is_firewalls
from core.providers.retry_after import rate_reset, retry_after

LONGEST_MESSAGE = 4000
"""Characters of an error that are looked at."""
INSIDE = (
    *("error", "message", "detail", "details", "metadata", "raw"),
    *("innererror", "inner_error", "content_filter_result", "base_resp"),
)
"""Where servers put an error in an error."""
DEEPEST, MOST = 6, 20
"""Errors in one another, and beside one another, that are looked at."""


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


class Refused(Exception):
    """A server has refused a request, or told an error in the middle of an answer."""

    def __init__(self, complaint: Complaint) -> None:
        self.complaint = complaint
        super().__init__(complaint.kind)  # no more: a traceback must not quote the server


def complaint_of(body: Any, status: int | None = None, headers: Mapping[str, str] | None = None) -> Complaint:
    """What the body says: JSON of any shape, or text. `status`: of the response, unless it was a success."""
    headers = headers or {}
    records = list(_records(body))
    texts = [_plain(body)] if isinstance(body, str) else [text for record in records for text in _texts(record)]
    message = " ".join(": ".join(dict.fromkeys(text for text in texts if text))[:LONGEST_MESSAGE].split())
    codes = [code for record in records for code in _codes(record)]
    status = status or next((code for code in _numbers(codes) if 400 <= code < 600), None)
    wait = retry_after(headers, records, message)
    kind = _kind(status, [code for code in codes if isinstance(code, str)], message, wait)
    if is_firewalls(status, body[:LONGEST_MESSAGE] if isinstance(body, str) else message):
        kind = ErrorKind.FILTERED  # it is about this question, and no other
    if status == 429 and wait is None:  # only now: a used-up quota has such headers too, and is no rate
        wait = rate_reset(headers)
    prompt, limit = figures(records, message) if kind is ErrorKind.TOO_LONG else (None, None)
    return Complaint(kind, status, message, frozenset(_named(records)), wait, prompt, limit)


def error_in(data: Any, name: str = "") -> Complaint | None:
    """What an event, or a document that came with a success, tells of an error; None when it tells of none."""
    match data:
        case {"error": error} if error:
            return complaint_of(data)
        case {"base_resp": {"status_code": int(code)}} if code:  # MiniMax
            return complaint_of(data)
        case {"type": "error"} | {"object": "error"}:
            return complaint_of(data)
        case {"choices": _}:
            return _gateway_error(data)
        case {"detail": detail} if detail and "type" not in data:
            return complaint_of(data)
        case {"message": str(message)} if message and _is_of_errors(data.get("type")):
            return complaint_of(data)
        case [{"error": error}, *_] if error:
            return complaint_of(data)
    return complaint_of(data) if name == "error" else None


def _is_of_errors(told: Any) -> bool:
    """Whether an object of this type may be an error: one without a type, or with that of one."""
    return told is None or _code(told) in CODES or "error" in str(told).lower()


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


def as_provider_error(complaint: Complaint, said: str) -> ProviderError:
    """The error for the rest of the system, with the server's words as they may be shown."""
    return ProviderError(
        complaint.kind,
        f"HTTP {complaint.status}" if complaint.status else "error in the stream",
        complaint.retry_after,
        said=said,
        prompt_tokens=complaint.prompt_tokens,
        limit_tokens=complaint.limit_tokens,
    )


def _kind(status: int | None, codes: list[str], message: str, wait: float | None) -> ErrorKind:
    told = [CODES[name] for code in codes if (name := _code(code)) in CODES]
    by_words = kind_by_words(message)
    if by_words is ErrorKind.QUOTA and ErrorKind.QUOTA not in told and wait is not None:
        by_words = None  # what is there again soon is a rate
    # Words of a code that say exactly what is wrong, then those of the message, then codes that say it roughly.
    for exact in (ErrorKind.TOO_LONG, ErrorKind.FILTERED, ErrorKind.QUOTA, ErrorKind.MODEL_NOT_FOUND):
        if exact in told:
            return exact
    if by_words is not None and status not in (401, 408):
        return by_words
    if status == 402:
        return ErrorKind.QUOTA
    rough = next(iter(told), None)
    if rough is None or (rough is ErrorKind.REJECTED and status not in (None, 400, 422)):
        return kind_of(status) if status else rough or ErrorKind.SERVER_ERROR
    if rough is ErrorKind.SERVER_ERROR and status:
        return kind_of(status)
    return rough


def _code(told: Any) -> str:
    return re.sub(r"\W+", "_", str(told)[:100].lower()).strip("_")


def _records(body: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The objects that tell of the error, from the outside in. Gateways quote the errors of others as text."""
    match body:
        case list():
            for each in body[:MOST]:
                if isinstance(each, dict):
                    yield from _records(each, depth)
        case dict():
            yield body
            for key in INSIDE if depth < DEEPEST else ():
                inner = body.get(key)
                yield from _records(_json(inner) if isinstance(inner, str) else inner, depth + 1)


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text.lstrip().startswith(("{", "[")) else None
    except (ValueError, RecursionError):
        return None


def _texts(record: dict[str, Any]) -> Iterator[str]:
    for key in ("type", "code"):
        if isinstance(code := record.get(key), str) and not code.isdecimal() and code not in ("error", "None"):
            yield code
    for key in ("message", "msg", "status_msg", "detail", "error", "raw"):
        if isinstance(text := record.get(key), str) and _json(text) is None:
            yield text[:LONGEST_MESSAGE]


def _codes(record: dict[str, Any]) -> Iterator[str | int]:
    for key in ("code", "type", "status", "status_code", "statusCode", "error_type", "reason", "error"):
        match record.get(key):
            case bool():
                pass
            case int(number):
                yield number
            case float(number) if number.is_integer():
                yield int(number)
            case str(text) if len(text) <= 100:
                yield text


def _numbers(codes: list[str | int]) -> Iterator[int]:
    for code in codes:
        if isinstance(code, int):
            yield code
        elif code.isascii() and code.isdecimal() and len(code) < 6:
            yield int(code)


def _named(records: list[dict[str, Any]]) -> Iterator[str]:
    for record in records:
        if isinstance(param := record.get("param"), str):
            yield param
        match record.get("loc"):
            case list() as place:
                yield from (part for part in place if isinstance(part, str) and part != "body")
            case str(place):
                yield place


def _plain(text: str) -> str:
    """The words of a body that is no JSON; of a web page its title."""
    text = text[:LONGEST_MESSAGE]
    if not text.lstrip().startswith("<"):
        return text
    title = re.search(r"<title[^>]{0,200}>([^<]{1,200})", text, re.IGNORECASE)
    return f"a web page: {title[1].strip()}" if title else "a web page"
