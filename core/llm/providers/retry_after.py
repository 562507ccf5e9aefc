"""When a server wants to be asked again, wherever and however it says so: pure but for the time of day."""

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

MAX_RETRY_AFTER = 86_400.0
"""Seconds: what a server asks for beyond a day is not worth more."""
EPOCH, EPOCH_MS = 1e9, 1e12
"""Numbers from here on are no waits, but moments: seconds, or milliseconds, since 1970."""
MAX_HEADER_LENGTH = 100
"""Characters of a header that are looked at."""
MAX_DIGITS = 15

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(
    r"""
    (?P<count> \d{1,15} (?:\.\d{0,9})? | \b an? (?=\s) ) \s?
    (?: (?P<ms> ms | msecs? | milliseconds? ) | (?P<s> s | secs? | seconds? ) | (?P<m> m | mins? | minutes? )
      | (?P<h> h | hrs? | hours? ) | (?P<d> d | days? ) )
    (?![a-z]) (?: ,?\s (?:and\s)? (?=\d) )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
"""Of a wait in words or letters, such as `1m30s`."""
_PLAIN = re.compile(r"\d{1,15}(?:\.\d{0,9})?(?![\d.]*\w)", re.ASCII)
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d (?: [T\ ] \d\d:\d\d (?: :\d\d (?:\.\d{1,9})? )? (?: \ ?(?:Z|UTC|[+-]\d\d:?\d\d) )? )?",
    re.VERBOSE | re.ASCII,
)
_SAID = re.compile(
    r"\b(?:(?:try again|retry(?:ing)?|available(?: again)?|resets?) (?:in|after|at)|wait(?: for)?)"
    r":? (?:about |approximately |at least |another )?",
    re.IGNORECASE,
)


def retry_after(headers: Mapping[str, str], records: Sequence[Mapping[str, Any]], message: str) -> float | None:
    """Seconds from now, as the headers say, or the body; at most a day."""
    candidates = (
        _wait(headers.get("retry-after-ms", ""), 0.001),
        _wait(headers.get("retry-after", "")),
        *(_wait(str(record.get("retryDelay", ""))) for record in records),
        *(_wait(str(record.get("retry_after", ""))) for record in records),
        *(_at(message, said.end()) for said in _SAID.finditer(message)),
    )
    return next((min(seconds, MAX_RETRY_AFTER) for seconds in candidates if seconds is not None), None)


RESETS = {
    "x-ratelimit-reset-requests": "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-tokens": "x-ratelimit-remaining-tokens",
    "anthropic-ratelimit-requests-reset": "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-tokens-reset": "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset": "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset": "anthropic-ratelimit-output-tokens-remaining",
    "x-ratelimit-reset": "x-ratelimit-remaining",
    "ratelimit-reset": "ratelimit-remaining",
}
"""Headers that say when there is more of something, each with the one that says how much there is."""


def rate_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until there is more of what is used up, by the headers that tell of rates; at most a day.

    When they don't say what is used up, the soonest of all: a request that comes too early is only refused again.
    """
    waits = {name: wait for name in RESETS if (wait := _wait(headers.get(name, ""))) is not None}
    used_up = [wait for name, wait in waits.items() if headers.get(RESETS[name], "").strip() == "0"]
    if not waits:
        return None
    return min(MAX_RETRY_AFTER, max(used_up) if used_up else min(waits.values()))


def _wait(text: str, unit: float = 1.0) -> float | None:
    """Seconds from now, as a header has them: a number, of `unit` seconds when it has none of its own, a date, or
    several, when it was sent more than once: the longest."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) > MAX_DIGITS:
        return MAX_RETRY_AFTER
    try:
        return _until(parsedate_to_datetime(text[:MAX_HEADER_LENGTH]))
    except (ValueError, OverflowError, TypeError, IndexError):
        waits = [_at(part.strip(), 0, unit, whole=True) for part in text[:MAX_HEADER_LENGTH].split(",")]
    return max((wait for wait in waits if wait is not None), default=None)


def _at(text: str, start: int, unit: float = 1.0, *, whole: bool = False) -> float | None:
    """Seconds from now, as the text says at this place; `whole`: and says nothing else."""
    if date := _DATE.match(text, start):
        end, wait = date.end(), _until_iso(date[0])
    elif _PART.match(text, start):
        end, wait = _sum(text, start)
    elif plain := _PLAIN.match(text, start):
        end, number = plain.end(), float(plain[0])
        in_epoch = number / 1000 if number >= EPOCH_MS else number
        wait = number * unit if number < EPOCH or unit != 1.0 else max(0.0, in_epoch - time.time())
    else:
        return None
    return wait if not whole or end == len(text) else None


def _sum(text: str, at: int) -> tuple[int, float]:
    """Where a wait of several parts ends, and its seconds."""
    seconds = 0.0
    while part := _PART.match(text, at):
        count = 1.0 if part["count"].lower().startswith("a") else float(part["count"])
        seconds += next(count * of for unit, of in _UNITS.items() if part[unit])
        at = part.end()
    return at, seconds


def _until_iso(text: str) -> float | None:
    try:
        return _until(datetime.fromisoformat(text.replace(" UTC", "Z").replace("UTC", "Z")))
    except (ValueError, OverflowError):
        return None


def _until(when: datetime) -> float:
    # A date without a zone is one of UTC.
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time())
