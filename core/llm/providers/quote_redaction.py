"""Takes a conversation's words out of a provider's error: pure.

The safe side: a word that was said goes, in whole, unless errors are made of such words (`redaction_allowlist.py`) or
it is a number of up to seven digits. Those go as well in four words in a row that were said, beside another word as
they were said, or when a whole message is such a number. Parts of words count: six letters in a row, whatever stands
between them, or two of a script without spaces.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from core.llm.providers.key_redaction import REDACTED
from core.llm.providers.redaction_allowlist import ALLOWED

MIN_QUOTED_WORDS = 4
"""Words in a row that go, whatever they are."""
MAX_FIGURE_DIGITS = 7
"""Digits of the longest number that tells nothing: a limit, a count of tokens."""
MAX_SINGLE_SEARCHES = 100
"""Rows of characters that are looked for one by one."""

_DENSE = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u2e80-\u2fdf\u3040-\u31ff\u3400-\u9fff"
    "\ua000-\ua4cf\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts that have no spaces between words, and Hangul, whose words have many endings."""
_WORD = re.compile(rf"[^\W_{_DENSE}]+|[{_DENSE}]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""Of `maxTokens`."""
_DENSE_CHARACTER = re.compile(f"[{_DENSE}]")


class View(NamedTuple):
    """Which characters of two texts are compared, and how many in a row make a quotation."""

    ignored: re.Pattern[str]
    """The characters that are not."""
    run_length: int

    def of(self, text: str) -> str:
        """The text's characters that are compared."""
        return self.ignored.sub("", text)


LETTERS = View(re.compile(r"[\W_]+"), 6)
ASCII = View(re.compile(r"[^a-z0-9]+"), 6)
"""Where others were made `?`, or two of something else."""
DENSE = View(re.compile(f"[^{_DENSE}]+"), 2)


class Word(NamedTuple):
    """A word of the provider's text."""

    start: int
    end: int
    folded: str
    allowed: bool
    """Whether the word stays although the conversation has it."""


def without_quotes(text: str, turns: Iterable[str], names: Iterable[str] = ()) -> str:
    """The text with `[...]` for what a turn has said. `names`: those of models, which stay. All of it is plain text,
    and the time it takes grows with the turns' length only."""
    words = list(_words(text, names))
    gone: set[Word] = set()
    for turn in turns if words else ():
        folded = turn.casefold()
        gone.update(_said(words, folded))
        for view in (LETTERS,) if folded.isascii() else (LETTERS, ASCII, DENSE):
            gone.update(_in_common(text, words, folded, view))
    return _cut(text, {place for word in gone for place in range(word.start, word.end)})


def _words(text: str, names: Iterable[str]) -> Iterator[Word]:
    kept = [found.span() for name in names for found in re.finditer(re.escape(name), text, re.IGNORECASE)]
    for found in _WORD.finditer(text):
        start, end = found.span()
        allowed = _is_allowed(found[0]) or any(first <= start and end <= last for first, last in kept)
        yield Word(start, end, found[0].casefold(), allowed)


def _is_allowed(word: str) -> bool:
    if word.isascii() and word.isdecimal():
        return len(word) <= MAX_FIGURE_DIGITS
    parts = _PART.findall(word)
    return word.casefold() in ALLOWED or ("".join(parts) == word and all(part.lower() in ALLOWED for part in parts))


def _said(words: list[Word], turn: str) -> Iterator[Word]:
    """The words that a turn has said, alone or in a row."""
    said = _WORD.findall(turn)
    known = set(said)
    whole = said[0] if len(said) == 1 and said[0].isdecimal() else None
    yield from (word for word in words if (not word.allowed and word.folded in known) or word.folded == whole)
    for length in (2, MIN_QUOTED_WORDS):
        runs: dict[tuple[str, ...], list[int]] = {}
        for at in range(len(words) - length + 1):
            run = words[at : at + length]
            if (
                length == MIN_QUOTED_WORDS
                or not all(word.allowed for word in run)
                or all(word.folded.isdecimal() for word in run)
            ):
                runs.setdefault(tuple(word.folded for word in run), []).append(at)
        # Without a step in Python for each word that was said: that may be a book.
        for found in set(filter(runs.__contains__, zip(*(said[start:] for start in range(length)), strict=False))):
            for at in runs[found]:
                yield from words[at : at + length]


def _in_common(text: str, words: list[Word], turn: str, view: View) -> Iterator[Word]:
    """The words with what the text and a turn have in a row in this view."""
    seen, owners = _seen(words, view, text)
    size = view.run_length
    rows: dict[str, list[int]] = {}
    for at in range(len(seen) - size + 1):
        if not all(word.allowed for word in owners[at : at + size]) or _is_split(seen, owners, at, size):
            rows.setdefault(seen[at : at + size], []).append(at)
    said = view.of(turn) if rows else ""
    for row in _common(rows, said, size):
        for at in rows[row]:
            split = _is_split(seen, owners, at, size)
            yield from (word for word in owners[at : at + size] if split or not word.allowed)


def _is_split(seen: str, owners: list[Word], at: int, size: int) -> bool:
    """Whether these are the digits of several numbers: those of one that was said may have been set apart."""
    return owners[at] is not owners[at + size - 1] and seen[at : at + size].isdecimal()


def _common(rows: Collection[str], said: str, size: int) -> set[str]:
    """The rows that occur. A few are looked for; for many all that was said is cut into such rows."""
    if len(rows) <= MAX_SINGLE_SEARCHES:
        return {row for row in rows if row in said}
    return set(filter(rows.__contains__, map("".join, zip(*(said[start:] for start in range(size)), strict=False))))


def _seen(words: list[Word], view: View, text: str) -> tuple[str, list[Word]]:
    """What the view has of the text, and for each of its characters the word that goes with it."""
    if view is DENSE:  # no spaces: each is by itself
        places = [found.start() for found in _DENSE_CHARACTER.finditer(text)]
        return "".join(text[at] for at in places), [Word(at, at + 1, text[at], allowed=False) for at in places]
    parts = [(view.of(word.folded), word) for word in words]
    return "".join(part for part, _ in parts), [word for part, word in parts for _ in part]


def _cut(text: str, gone: set[int]) -> str:
    """The text with one `[...]` for all places that are gone, with nothing but marks and spaces between them."""
    kept: list[str] = []
    at, last = 0, None
    for place in sorted(gone):
        if last is None or any(map(str.isalnum, text[last + 1 : place])):
            kept += [text[at:place], REDACTED]
        at, last = place + 1, place
    return "".join([*kept, text[at:]])
