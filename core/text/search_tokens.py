"""What a search finds a text by: pure.

Words without regard to case, accents and width. Scripts that leave no space between words are taken in pairs of
characters, so that any part of a sentence is found. Emoji and other symbols are found by themselves, whatever their
skin and style.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

MAX_WORD = 40
"""Characters of a word that count."""
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
    "\uac00-\ud7af"  # Korean, whose words carry their endings
)
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f"
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew points
    "\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"  # Arabic vowels
    "\u0900-\u0963\u0966-\u0df3"  # India's scripts, whose vowels are signs
)
"""What belongs to the letter before it, and is no letter for regular expressions."""
_SYMBOLS = "\u00a2-\u00a7\u00a9\u00ae\u00b0\u00b1\u00b6\u00d7\u00f7\u20a0-\u20cf\u2100-\u2bff\U0001f000-\U0001faff"
_STYLES = "\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff"
"""What only changes the looks of the symbol before it."""
_RUN = re.compile(
    rf"(?![{_SPACELESS}])[^\W_](?:(?![{_SPACELESS}])(?:[^\W_]|[{_MARKS}]))*"
    rf"|(?P<spaceless>[{_SPACELESS}]+)"
    "|(?P<flag>[\U0001f1e6-\U0001f1ff]{2})"
    rf"|(?P<symbol>(?![{_STYLES}])[{_SYMBOLS}])[{_STYLES}]*"
)
_LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "\u0131": "i"})
"""Letters that people write without what Unicode does not call their accent."""
_HALFWIDTH_MARKS = "\uff9e\uff9f"
"""Of Japanese syllables, as characters of their own."""


class Token(NamedTuple):
    """A part of a text that it can be found by."""

    text: str
    start: int
    end: int
    """Its place in the text, in characters."""


def tokens(text: str) -> Iterator[Token]:
    """A text's tokens, in its order. A run of a spaceless script has a token for each pair, and for its last
    character."""
    for run in _RUN.finditer(text):
        start, end = run.span()
        if symbol := run["flag"] or run["symbol"]:
            yield Token(symbol, start, end)
        elif run["spaceless"]:
            letters = [at for at in range(start, end) if at == start or not _is_mark(text[at])]
            for at, pair in zip(letters, [*letters[2:], end, end], strict=False):
                yield Token(_plain(text[at:pair]), at, pair)
        else:
            yield Token(_plain(text[start : min(end, start + 2 * MAX_WORD)])[:MAX_WORD], start, end)


class Term(NamedTuple):
    """What one part of a query looks for."""

    text: str
    prefix: bool
    """Whether it may be the beginning of a token."""

    def finds(self, token: str) -> bool:
        """Whether that is a hit."""
        return token.startswith(self.text) if self.prefix else token == self.text


def terms(query: str) -> list[Term]:
    """What a query looks for, all of it at once: none when nothing of it can be found. The last word may be the
    beginning of one, as people type; a lone character of a spaceless script that of a pair."""
    found: list[Term] = []
    runs = list(_RUN.finditer(query))
    for number, run in enumerate(runs):
        pieces = [token.text for token in tokens(run[0])]
        if run["spaceless"]:
            # The last one stands alone only where the text's run ends as well.
            found += [Term(piece, prefix=False) for piece in pieces[:-1]] or [Term(pieces[0], prefix=True)]
        else:
            found += [Term(piece, prefix=number == len(runs) - 1) for piece in pieces if piece]
    return list(dict.fromkeys(found))


def _is_mark(character: str) -> bool:
    return bool(unicodedata.combining(character)) or character in _HALFWIDTH_MARKS


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(each for each in decomposed if not unicodedata.combining(each))
    return unicodedata.normalize("NFC", bare or decomposed).casefold().translate(_LETTERS)
