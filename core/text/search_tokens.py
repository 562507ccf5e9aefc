"""What a search finds a text by: pure.

Words without regard to case, accents and width. Scripts that leave no space between words are taken in pairs of
characters, so that any part of a sentence is found.
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
_RUN = re.compile(rf"(?P<spaceless>[{_SPACELESS}]+)|(?:(?![{_SPACELESS}])(?:[^\W_]|[\u0300-\u036f]))+")


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
        if run["spaceless"]:
            for at in range(start, end):
                pair = min(at + 2, end)
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


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(each for each in decomposed if not unicodedata.combining(each))
    return unicodedata.normalize("NFC", bare or decomposed).casefold()
