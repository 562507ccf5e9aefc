"""Pages of items, and the query parameters that ask for them."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Literal, cast
from uuid import UUID

from core.conversation.message import Message
from core.errors import InvalidBody
from web.api import parameters
from web.api.openai.response_objects import MESSAGE, parse_id
from web.openapi.declaration import Parameter

Order = Literal["asc", "desc"]


def _after(text: str | None) -> UUID | None:
    named = None if text is None else parse_id(text, MESSAGE)
    if text is not None and named is None:
        raise _unknown()
    return named


def _order(text: str | None) -> Order:
    if text not in (None, "asc", "desc"):
        raise InvalidBody("order: 'asc' or 'desc' is needed.", field="order")
    return cast("Order", text or "desc")


def _nothing(text: str | None) -> None:
    if text is not None:
        raise InvalidBody("include: nothing of the kind is kept here; leave it out.", field="include")


def _unknown() -> InvalidBody:
    return InvalidBody("after: the id of an item of this list is needed.", field="after")


LIMIT = parameters.page_size(100, 20)
AFTER = Parameter(
    "after", "query", "The item after which the page begins.", parameters.TEXT, "after", _after, (InvalidBody,)
)
ORDER = Parameter(
    "order",
    "query",
    "Whether the page begins with the newest item (`desc`), or with the oldest.",
    {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
    "order",
    _order,
    (InvalidBody,),
)
INCLUDE = tuple(
    Parameter(
        name,
        "query",
        "Nothing more than there is can be included.",
        {"type": "array", "items": {"type": "string"}, "maxItems": 0},
        "include",
        _nothing,
        (InvalidBody,),
    )
    for name in ("include", "include[]")
)
"""Under the names by which the packages send it, and people."""


def in_order(
    newest_first: Iterator[Message], limit: int, after: UUID | None, order: Order
) -> tuple[list[Message], bool]:
    """A page of the messages, which come newest first, and whether there are more. No more than a page of them is
    kept. Raises InvalidBody when there is none of the id `after`."""
    if order == "desc":
        if after is not None and not any(message.id == str(after) for message in newest_first):
            raise _unknown()
        page = list(islice(newest_first, limit + 1))
        return page[:limit], len(page) > limit
    kept: deque[Message] = deque(maxlen=limit + 1)
    for message in newest_first:
        if message.id == str(after):
            break
        kept.append(message)
    else:
        if after is not None:
            raise _unknown()
    oldest = list(reversed(kept))
    return oldest[:limit], len(oldest) > limit
