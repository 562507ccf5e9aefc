"""The headers and query parameters that operations take."""

from uuid import UUID

from werkzeug.datastructures import ETags
from werkzeug.http import parse_etags

from core.errors import InvalidBody
from web.openapi.declaration import Parameter

TEXT = {"type": "string"}


def _parse_if_match(text: str | None) -> ETags | None:
    return None if text is None else parse_etags(text)


def _prefers_async(text: str | None) -> bool:
    return any(preference.split(";")[0].strip().lower() == "respond-async" for preference in (text or "").split(","))


IF_MATCH = Parameter(
    "If-Match",
    "header",
    "The session's ETag, as the client knows it; any other is refused.",
    TEXT,
    "if_match",
    _parse_if_match,
)
PREFER = Parameter(
    "Prefer",
    "header",
    "`respond-async` (RFC 7240): the answer is 202 at once, without waiting for a worker.",
    TEXT,
    "respond_async",
    _prefers_async,
)
LAST_EVENT_ID = Parameter("Last-Event-ID", "header", "The stream resumes after this event.", TEXT, "last_event_id")
LAST_EVENT_ID_QUERY = Parameter(
    "last_event_id",
    "query",
    "Last-Event-ID for clients that can't set headers.",
    TEXT,
    "last_event_id_query",
)
GENERATION_ID = Parameter("generation_id", "query", "The stream ends with this generation.", TEXT, "generation_id")


MAX_DIGITS = 9


def _start_index(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.removeprefix("-")
    if not (digits.isdecimal() and digits.isascii() and len(digits) <= MAX_DIGITS):
        raise InvalidBody(
            "startIndex: the number of a chunk is needed, from 0 on, or below 0 counted from the last.",
            field="startIndex",
        )
    return int(text)


START_INDEX = Parameter(
    "startIndex",
    "query",
    "The number of the first chunk that is wanted, counted from 0 on since the answer's first. Below 0 it is counted "
    "from the end of what there is: -1 is the last; the header `X-Workflow-Stream-Tail-Index` has that one's number.",
    {"type": "integer", "minimum": 1 - 10**MAX_DIGITS, "maximum": 10**MAX_DIGITS - 1},
    "start_index",
    _start_index,
    (InvalidBody,),
)


def number(name: str, description: str, most: int, default: int) -> Parameter:
    """A whole number from 1 to `most`."""

    def parse(text: str | None) -> int:
        if text is None:
            return default
        # Python refuses to read numbers of thousands of digits.
        if not (text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
            raise InvalidBody(f"{name}: a number from 1 to {most} is needed.", field=name)
        return int(text)

    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter(name, "query", description, schema, name, parse, (InvalidBody,))


def page_size(most: int, default: int) -> Parameter:
    """`limit`: how many entries a page has at most."""
    return number("limit", "The most entries that the page may have.", most, default)


def page_end(description: str, needed: str) -> Parameter:
    """`before`: the entry before which a page ends. `needed` completes the refusal of a text that is no id."""

    def parse(text: str | None) -> UUID | None:
        try:
            return None if text is None else UUID(text)
        except ValueError:
            raise InvalidBody(f"before: {needed} is needed.", field="before") from None

    schema = {"type": "string", "format": "uuid"}
    return Parameter("before", "query", description, schema, "before", parse, (InvalidBody,))
