"""What stands in a store and is not what was put there: it is passed over, with one line in the log that has ids and
the kind of damage, and none of the words."""

import json
import logging
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from core.stores.redis import RedisDamaged

logger = logging.getLogger(__name__)

MAX_LENGTH = 16_000_000
"""Characters of one stored item. A message of a million, with as many of thinking, takes less, also as escapes."""
MAX_DIGITS = 15
"""Of a number in a log: scripts count exactly up to there."""

Answer = TypeVar("Answer")


class Damaged(ValueError):
    """It can't be read. Its text is the kind of damage."""


def pass_over(session_id: UUID, what: str, kind: Damaged | RedisDamaged) -> None:
    """Log that something of a session's is passed over."""
    how = "not of its key's type" if isinstance(kind, RedisDamaged) else kind
    logger.warning("session %s: %s is damaged and passed over: %s", session_id, what, how)


def unless_damaged(answer: Answer | RedisDamaged, default: Answer, session_id: UUID, what: str) -> Answer:
    """An answer of `Pipeline.execute_each`, or the default in place of one that is none."""
    if not isinstance(answer, RedisDamaged):
        return answer
    pass_over(session_id, what, answer)
    return default


def decode(stored: str) -> dict[str, Any]:
    """The JSON object in a text. Raises Damaged."""
    if len(stored) > MAX_LENGTH:
        raise Damaged("too long")
    try:
        found = _decoder.decode(stored)
    except (ValueError, RecursionError):
        raise Damaged("no JSON") from None
    if not isinstance(found, dict):
        raise Damaged("no JSON object")
    return found


def number(stored: str | None) -> int | None:
    """The number in a field, or None where there is no field. Raises Damaged."""
    if stored is None:
        return None
    if not (stored.isascii() and stored.isdecimal() and len(stored) <= MAX_DIGITS):
        raise Damaged("no number")
    return int(stored)


def _refuse(_: str) -> NoReturn:
    raise Damaged("no JSON")  # NaN and Infinity: Python's own, and no browser's


_decoder = json.JSONDecoder(parse_constant=_refuse)
