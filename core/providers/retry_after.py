"""When a server wants to be asked again, wherever it says so: pure."""

import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_WAIT = 86_400.0
"""Seconds: what a server asks for beyond a day is not worth more."""


def retry_after(headers: Mapping[str, str], records: Sequence[Mapping[str, Any]], message: str) -> float | None:
    """Seconds from now, as the headers say, or the body."""
    candidates = (
        _number(headers.get("retry-after-ms", ""), 0.001),
        _moment(headers.get("retry-after", "")),
        *(_number(str(record.get("retryDelay", "")).removesuffix("s")) for record in records),
        *(_number(str(record.get("retry_after", ""))) for record in records),
        _in_words(message),
    )
    return next((min(seconds, LONGEST_WAIT) for seconds in candidates if seconds is not None), None)


def _number(text: str, unit: float = 1.0) -> float | None:
    return float(text) * unit if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{0,9})?", text := text.strip()) else None


def _moment(text: str) -> float | None:
    """Retry-After is a number of seconds or a date."""
    if re.fullmatch(r"\s*[0-9]{13,}\s*", text):
        return LONGEST_WAIT
    if (seconds := _number(text)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text[:100]).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


_TRY_AGAIN = re.compile(
    r"(?:try again|retry) (?:in|after) (?:([0-9]{1,4})h)?(?:([0-9]{1,5})m(?!s))?([0-9.]{1,12})?(ms|s)?", re.IGNORECASE
)


def _in_words(message: str) -> float | None:
    """OpenAI and Groq say it in the message: "Please try again in 1m2.5s"."""
    found = _TRY_AGAIN.search(message)
    if found is None or not any(found.groups()[:3]):
        return None
    hours, minutes, seconds, unit = found.groups()
    rest = _number(seconds or "0", 0.001 if unit == "ms" else 1.0)
    return None if rest is None else int(hours or 0) * 3600 + int(minutes or 0) * 60 + rest
