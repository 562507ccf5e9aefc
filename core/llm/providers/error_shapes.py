"""Where servers put what they say of an error, however its body is shaped: pure."""

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_MESSAGE_LENGTH = 4000
"""Characters of an error that are looked at."""
INSIDE = (
    *("error", "message", "detail", "details", "metadata", "raw"),
    *("innererror", "inner_error", "content_filter_result", "base_resp", "errors", "fault"),
)
"""Where servers put an error in an error."""
TEXTS = (
    *("message", "msg", "Message", "status_msg", "error_msg", "errmsg", "error_message", "error_description"),
    *("detail", "details", "error", "raw", "exception", "faultstring", "reason"),
)
"""Where they put their words: of these, what is one word is a code."""
CODES_AT = (
    *("code", "type", "status", "status_code", "statusCode", "error_code", "errcode", "errorcode"),
    *("error_type", "reason", "error"),
)
NAMELESS = ("error", "None", "about:blank")
"""Types and codes that say nothing."""
MAX_DEPTH, MAX_ERRORS = 6, 20
"""Errors in one another, and beside one another, that are looked at."""


def code_name(told: Any) -> str:
    """A code or a type as the table of them has it."""
    return re.sub(r"\W+", "_", str(told)[:100].lower()).strip("_")


def records_of(body: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The objects that tell of the error, from the outside in. Gateways quote the errors of others as text."""
    match body:
        case list():
            for each in body[:MAX_ERRORS]:
                if isinstance(each, dict):
                    yield from records_of(each, depth)
                elif isinstance(each, str):
                    yield {"message": each}
        case dict():
            yield body
            for key in INSIDE if depth < MAX_DEPTH else ():
                inner = body.get(key)
                yield from records_of(_json(inner) if isinstance(inner, str) else inner, depth + 1)


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text.lstrip().startswith(("{", "[")) else None
    except (ValueError, RecursionError):
        return None


def texts_of(record: dict[str, Any]) -> Iterator[str]:
    """Its words, its code and its type first."""
    for key in ("type", "code"):
        if isinstance(code := record.get(key), str) and not code.isdecimal() and code not in NAMELESS:
            yield code
    for key in TEXTS:
        text = record.get(key)
        if isinstance(text, str) and _json(text) is None and (key != "reason" or " " in text):
            yield text[:MAX_MESSAGE_LENGTH]


def codes_of(record: dict[str, Any]) -> Iterator[str | int]:
    """What it says for programs. MiniMax's numbers are told by the name of their place from those of others."""
    for key in CODES_AT:
        match record.get(key):
            case bool():
                pass
            case int(number):
                yield f"{key}_{number}" if key == "status_code" and number >= 1000 else number
            case float(number) if number.is_integer():
                yield int(number)
            case str(text) if len(text) <= 100:
                yield text


def numbers_among(codes: list[str | int]) -> Iterator[int]:
    """The numbers, also those that came as text."""
    for code in codes:
        if isinstance(code, int):
            yield code
        elif code.isascii() and code.isdecimal() and len(code) < 6:
            yield int(code)


def parameters_named(records: list[dict[str, Any]]) -> Iterator[str]:
    """Parameters that are named in a place of their own."""
    for record in records:
        if isinstance(param := record.get("param"), str) and param not in ("", *NAMELESS):
            yield param
        match record.get("loc"):
            case list() as place:
                yield from (part for part in place if isinstance(part, str) and part != "body")
            case str(place):
                yield place


def plain(text: str) -> str:
    """The words of a body that is no JSON; of a web page its title."""
    text = text[:MAX_MESSAGE_LENGTH]
    if not text.lstrip().startswith("<"):
        return text
    title = re.search(r"<title[^>]{0,200}>([^<]{1,200})", text, re.IGNORECASE)
    return f"a web page: {title[1].strip()}" if title else "a web page"
