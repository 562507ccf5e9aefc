"""The process that highlights code, for core/conversation/highlighting.py. It imports nothing of ours.

It reads requests from its standard input and writes answers to its standard output, one JSON text a line each: a list
of `[language, code]`, and a list of HTML or null. A lexer of Pygments is a heap of regular expressions, some of which
take time that grows with the square of their text or faster; here they can be interrupted, and hold up nobody else.
"""

import json
import signal
import sys
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from types import FrameType

from pygments.lexer import Lexer
from pygments.lexers import find_lexer_class, get_all_lexers
from pygments.token import STANDARD_TYPES, _TokenType

MAX_SECONDS = 0.3
"""Of the processor, for one request. Ordinary code of 40,000 characters takes about 0.2 s."""
MAX_GROWTH = 6
"""Characters of HTML for each of code, beside BASE_OUTPUT: what becomes longer is shown plain."""
BASE_OUTPUT = 200
LANGUAGES = {alias: name for name, aliases, _, _ in get_all_lexers(plugins=False) for alias in aliases}


class _TooSlow(Exception):
    """The time is over."""


def _over(number: int, frame: FrameType | None) -> None:
    raise _TooSlow


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this says when it ends
    signal.signal(signal.SIGPROF, _over)
    for line in sys.stdin.buffer:
        answers = list(_highlighted(json.loads(line)))
        sys.stdout.buffer.write(json.dumps(answers).encode() + b"\n")
        sys.stdout.buffer.flush()


def _highlighted(blocks: list[tuple[str, str]]) -> Iterator[str | None]:
    for language, _ in blocks:
        _lexer(language)  # what is loaded the first time does not count
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    late = False
    for language, code in blocks:
        html: str | None = None
        if not late:
            try:
                html = _html(language, code)
            except _TooSlow:
                late = True
            except Exception:  # one lexer's mistake about one text
                html = None
        yield html
    signal.setitimer(signal.ITIMER_PROF, 0)


def _html(language: str, code: str) -> str | None:
    """Code as HTML; None where the language is not known, or nothing would be gained."""
    lexer = _lexer(language)
    if lexer is None:
        return None
    most = MAX_GROWTH * len(code) + BASE_OUTPUT
    parts: list[str] = []
    length = 0
    before, words = "", ""
    read = 0
    for kind, text in lexer.get_tokens(code):
        read += len(text)
        name = _class_of(kind)
        if name == before:
            words += text
            continue
        part = _span(before, words)
        parts.append(part)
        before, words = name, text
        length += len(part)
        if length > most:
            return None
    parts.append(_span(before, words))
    html = "".join(parts)
    return html if len(html) <= most and read == len(code) else None


@lru_cache(1024)
def _class_of(kind: _TokenType) -> str:
    """The class of the nearest kind that has one. Lexers make kinds of their own."""
    while kind not in STANDARD_TYPES and kind.parent is not None:
        kind = kind.parent
    return STANDARD_TYPES.get(kind, "")


def _span(name: str, words: str) -> str:
    text = escape(words, quote=False)
    return f'<span class="{name}">{text}</span>' if name not in ("", "w", "err") and words else text


@lru_cache(64)
def _lexer(language: str) -> Lexer | None:
    name = LANGUAGES.get(language.lower())
    found = find_lexer_class(name) if name else None
    return found(stripnl=False, ensurenl=False) if found else None


if __name__ == "__main__":
    main()
