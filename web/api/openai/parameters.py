"""The query parameters of OpenAI's API."""

from core.errors import InvalidBody
from web.openapi.declaration import Parameter

MAX_DIGITS = 15
"""Of a sequence number: more than any stream has."""


def parse_flag(name: str, text: str | None) -> bool:
    """Whether a flag is set. Raises InvalidBody."""
    if text not in (None, "true", "false"):
        raise InvalidBody(f"{name}: 'true' or 'false' is needed.", field=name)
    return text == "true"


def _sequence_number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise InvalidBody("starting_after: the sequence_number of an event is needed.", field="starting_after")
    return int(text)


STREAM = Parameter(
    "stream",
    "query",
    "Whether the response's events are wanted in place of the response.",
    {"type": "boolean", "default": False},
    "stream",
    lambda text: parse_flag("stream", text),
    (InvalidBody,),
)
STARTING_AFTER = Parameter(
    "starting_after",
    "query",
    "The stream goes on after the event of this sequence_number.",
    {"type": "integer", "minimum": 0, "maximum": 10**MAX_DIGITS - 1},
    "starting_after",
    _sequence_number,
    (InvalidBody,),
)
