"""A provider's own words, made fit for an operator's log: pure.

Servers quote in their errors what they were sent, the key, the address, the conversation; and what the model wrote.
"""

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from core.llm.providers.key_redaction import REDACTED, without_keys
from core.llm.providers.quote_redaction import without_quotes
from core.llm.providers.redaction_allowlist import ALLOWED
from core.llm.providers.text_normalization import normalized
from core.text.characters import one_line

MAX_QUOTED_LENGTH = 300
"""Characters of what is kept."""
MAX_READ_LENGTH = 4000
"""Characters that are looked at."""
MIN_SECRET_LENGTH = 6
"""Characters: what is shorter stands in other words too, and goes only where it stands alone."""

_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)(?:[^\s/@\"'<>]{0,500}@)?([^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?", re.I)
_QUOTES = re.compile(
    r"""
    ( \binput\ at\ pos(?:ition)?\ \d{1,12}:                               # llama.cpp's, of what it can't parse
    | \blast\ read: | \b(?:raw|failed_generation)\s?[:=](?=\s?['"`])      # its JSON library's; Ollama's, Groq's
    ).+
    """,
    re.VERBOSE,
)
"""Where servers quote what the model wrote, also what they have not passed on; how far is not to be told."""


def redacted(words: str, conversation: Iterable[str], *secrets: str, names: Iterable[str] = ()) -> str:
    """One line of at most 300 characters, without secrets, addresses' secrets, and what the conversation says.

    `secrets`: the key, passwords; `names`: of models and the like, which stay whatever else they look like. Takes
    0.2 to 0.5 s for a conversation of a million characters, and so belongs to the moment of a failure only.
    """
    text = _URL.sub(r"\1\2", one_line(normalized(words[:MAX_READ_LENGTH])))
    for secret in sorted(_spelled(secrets), key=len, reverse=True):
        pattern = re.escape(secret) if len(secret) >= MIN_SECRET_LENGTH else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(pattern, REDACTED, text, flags=re.IGNORECASE)
    text = _QUOTES.sub(rf"\1 {REDACTED}", text)
    kept = [normalized(name) for name in names if name]
    text = _around(text, kept, without_keys)
    text = _QUOTES.sub(rf"\1 {REDACTED}", text)
    text = without_quotes(text, map(normalized, conversation), kept)
    return text if len(text) <= MAX_QUOTED_LENGTH else text[: MAX_QUOTED_LENGTH - 1] + "…"


def _spelled(secrets: Iterable[str]) -> set[str]:
    """The secrets as a normalized text may have them. One that is a word of errors, as `none`, is no secret."""
    spelled = {spelling for secret in secrets for spelling in (secret, unquote(secret), normalized(secret))}
    return {spelling for spelling in spelled if spelling.strip() and spelling.casefold() not in ALLOWED}


def _around(text: str, names: list[str], change: Callable[[str], str]) -> str:
    """The text changed wherever it is not one of the names."""
    if not names:
        return change(text)
    either = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    pieces = re.split(rf"((?<![\w-])(?:{either})(?![\w-]))", text)
    return "".join(piece if number % 2 else change(piece) for number, piece in enumerate(pieces))
