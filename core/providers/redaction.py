"""A provider's own words, made fit for an operator's log: pure.

Servers quote in their errors what they were sent, the key, the address, the conversation; and what the model wrote.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import takewhile

from core.characters import one_line

LONGEST = 300
"""Characters of what is kept."""
READ = 4000
"""Characters that are looked at."""
RUN_OF_WORDS = 4
RUN_OF_CHARACTERS = 24
"""Letters and digits in a row, of any words: for scripts without spaces, and for numbers."""
SHORTEST_TURN = 8
"""Letters and digits of a message that is not repeated even when it has fewer words than those."""
PROBE, FAR = RUN_OF_CHARACTERS // 2, RUN_OF_CHARACTERS
MOST_PLACES = 1000
"""At which one probe is looked for in a message."""
SHORTEST_KEY = 6
"""Characters: what is shorter stands in other words too, such as the `none` of servers without a key."""
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
_QUOTES = re.compile(
    r"""
    ( \binput\ at\ pos(?:ition)?\ \d{1,12}:                               # llama.cpp's, of what it can't parse
    | \blast\ read: | \b(?:raw|failed_generation)\s?[:=](?=\s?['"`])      # its JSON library's; Ollama's, Groq's
    ).+
    """,
    re.VERBOSE,
)
"""Where servers quote what the model wrote, also what they have not passed on; how far is not to be told."""
_WORD = re.compile(r"\w+")


def redacted(words: str, conversation: Iterable[str], key: str = "") -> str:
    """One line of at most 300 characters, without keys, addresses' secrets, and what the conversation says.

    Takes 0.2 to 0.5 s for a conversation of a million characters, and so belongs to the moment of a failure only.
    """
    text = _unescaped(words[:READ])
    if len(key) >= SHORTEST_KEY:
        text = text.replace(key, GONE)
    text = _SECRETS.sub(GONE, _URL.sub(r"\1\2", one_line(text)))
    text = _QUOTES.sub(rf"\1 {GONE}", text)
    text = _without(text, conversation)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _unescaped(text: str) -> str:
    """Quoted JSON, as it reads: else words of other scripts are not known again."""

    def plain(escape: re.Match[str]) -> str:
        code, blank, mark = escape.groups()
        return chr(int(code, 16)) if code else " " if blank else mark

    return _ESCAPES.sub(plain, text)


def _without(text: str, turns: Iterable[str]) -> str:
    """The text with `[...]` for every run of words or of characters that occurs in a turn."""
    spans = [match.span() for match in _WORD.finditer(text)]
    words = [text[start:end].casefold() for start, end in spans]
    joined = "".join(words)
    owners = [number for number, word in enumerate(words) for _ in word]
    gone: set[int] = set()
    """Which of the words."""
    for turn in turns if words else ():
        said = _WORD.findall(turn.casefold())
        whole = "".join(said)
        if len(whole) >= SHORTEST_TURN:
            gone.update(_runs_in_common(words, said, min(len(said), RUN_OF_WORDS)))
        gone.update(owners[at] for at in _characters_in_common(joined, whole))
    return _cut(text, spans, gone)


def _runs_in_common(words: list[str], said: list[str], length: int) -> Iterator[int]:
    """The places of the words in all runs of this length that have been said."""
    runs: dict[tuple[str, ...], list[int]] = {}
    for at in range(len(words) - length + 1):
        runs.setdefault(tuple(words[at : at + length]), []).append(at)
    # Without a step in Python for each word that was said: that may be a book.
    for run in set(filter(runs.__contains__, zip(*(said[start:] for start in range(length)), strict=False))):
        for at in runs[run]:
            yield from range(at, at + length)


def _characters_in_common(joined: str, said: str) -> Iterator[int]:
    """The places of the characters in all runs that have been said.

    Each run holds a whole probe, which the text is cut into, so that the rest is looked at around those only.
    """
    for start in range(0, len(joined) - PROBE + 1, PROBE):
        probe, at = joined[start : start + PROBE], -1
        for _ in range(MOST_PLACES):
            if (at := said.find(probe, at + 1)) < 0:
                break
            left = _same(reversed(joined[:start][-FAR:]), reversed(said[max(0, at - FAR) : at]))
            right = _same(joined[start + PROBE :][:FAR], said[at + PROBE : at + PROBE + FAR])
            if left + PROBE + right >= RUN_OF_CHARACTERS:
                yield from range(start - left, start + PROBE + right)
                break


def _same(some: Iterable[str], others: Iterable[str]) -> int:
    """How many characters are the same from the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False)))


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
