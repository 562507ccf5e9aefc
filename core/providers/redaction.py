"""A provider's own words, made fit for an operator's log: pure.

Servers quote in their errors what they were sent: the key, the address, the conversation.
"""

import re
from collections.abc import Iterable, Iterator

from core.characters import one_line

LONGEST = 300
"""Characters of what is kept."""
READ = 4000
"""Characters that are looked at."""
RUN_OF_WORDS = 4
RUN_OF_CHARACTERS = 24
"""Letters and digits in a row, of any words: for scripts without spaces, and for numbers."""
SHORTEST_TURN = 8
"""Characters of a message that is not repeated even when it is shorter than those."""
GONE = "[...]"

_ESCAPES = re.compile(r'\\(?:u([0-9a-fA-F]{4})|([nrt])|(["\\/]))')
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)(?:[^\s/@\"'<>]{0,500}@)?([^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?", re.I)
_SECRETS = re.compile(
    r"""
    \b(?:Bearer|Basic)\s+[^\s"',;]+                                     # a header's value
    | \b(?:sk|pk|rk|gsk|xai|hf|nvapi|csk|pplx|ya29)[-_.*][^\s"',;]{3,}  # keys, by how they begin
    | \bAIza[\w-]{10,}
    | (?<=key[=:])\s*[^\s"',;]{8,} | (?<=key\sprovided:\s)[^\s"',;]+
    | \beyJ[\w-]{8,}(?:\.[\w-]+)*                                       # a JSON Web Token
    | \b(?=[A-Za-z_]*\d)(?=\d*[A-Za-z])\w{24,}                          # long, of letters and digits
    | (?<![\w/+-])(?=\S*\d)(?=\S*[a-z])(?=\S*[A-Z])[\w/+-]{40,}={0,2}   # long, in base64
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"\w+")


def redacted(words: str, conversation: Iterable[str], key: str = "") -> str:
    """One line of at most 300 characters, without keys, addresses' secrets, and what the conversation says.

    Takes time in proportion to the conversation, and so belongs to the moment of a failure only.
    """
    text = _unescaped(words[:READ])
    if key:
        text = text.replace(key, GONE)
    text = _SECRETS.sub(GONE, _URL.sub(r"\1\2", one_line(text)))
    text = _without(text, list(conversation))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _unescaped(text: str) -> str:
    """Quoted JSON, as it reads: else words of other scripts are not known again."""

    def plain(escape: re.Match[str]) -> str:
        code, blank, mark = escape.groups()
        return chr(int(code, 16)) if code else " " if blank else mark

    return _ESCAPES.sub(plain, text)


def _without(text: str, turns: list[str]) -> str:
    """The text with `[...]` for every run of words or of characters that occurs in a turn."""
    spans = [match.span() for match in _WORD.finditer(text)]
    words = [text[start:end].casefold() for start, end in spans]
    gone: set[int] = set()
    """Which of the words."""
    short = [own for turn in turns if len(turn) <= 200 and len(own := _words(turn)) < RUN_OF_WORDS]
    lengths = {RUN_OF_WORDS, *(len(own) for own in short if sum(map(len, own)) >= SHORTEST_TURN)} - {0}
    for length in lengths:
        runs: dict[tuple[str, ...], list[int]] = {}
        for at in range(len(words) - length + 1):
            runs.setdefault(tuple(words[at : at + length]), []).append(at)
        wanted = (_runs(_words(turn), length) for turn in turns) if length == RUN_OF_WORDS else [map(tuple, short)]
        for said in wanted:
            for run in said:
                for at in runs.get(run, ()):
                    gone.update(range(at, at + length))
    gone |= _characters_in_common(words, turns)
    return _cut(text, spans, gone)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _runs(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(length)), strict=False)


def _characters_in_common(words: list[str], turns: list[str]) -> set[int]:
    """The words that a run of characters touches."""
    joined = "".join(words)
    owner = [number for number, word in enumerate(words) for _ in word]
    runs: dict[str, list[int]] = {}
    for at in range(len(joined) - RUN_OF_CHARACTERS + 1):
        runs.setdefault(joined[at : at + RUN_OF_CHARACTERS], []).append(at)
    touched: set[int] = set()
    if runs:
        for turn in turns:
            said = "".join(_words(turn))
            for at in range(len(said) - RUN_OF_CHARACTERS + 1):
                for place in runs.get(said[at : at + RUN_OF_CHARACTERS], ()):
                    touched.update(owner[place : place + RUN_OF_CHARACTERS])
    return touched


def _cut(text: str, spans: list[tuple[int, int]], gone: set[int]) -> str:
    kept: list[str] = []
    at = 0
    for number, (start, end) in enumerate(spans):
        if number not in gone:
            continue
        if number - 1 not in gone:
            kept += [text[at:start], GONE]
        at = end
    return "".join([*kept, text[at:]])
