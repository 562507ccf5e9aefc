"""The finished blocks of an answer while it is written, as HTML.

A block at the top level, such as a paragraph or a list, is finished when no later text can change it. The parser
decides which are; when it is worth asking is guessed by the lines. Each block is parsed a few times at the most,
however long the answer becomes.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markdown_it.token import Token

from core.conversation import markdown

MAX_EVENT = 48 * 1024
"""Characters of HTML in one piece. A longer block comes with the whole answer."""
RUN = 4 * 1024
"""Characters of Markdown from which on what follows goes into another piece."""
SMALL = 800
"""Characters of unfinished text that is looked at whenever something in it may be finished."""
GROWTH = 1.5
"""How much longer any longer text must have become to be looked at again."""
MAX_LOOKED_AT = 3 * markdown.MAX_INPUT
"""Characters that are looked at altogether. Most texts are looked at once."""

FENCE = re.compile(r"[ >]*(?:(?:[-*+]|\d{1,9}[.)])[ ]+)?(`{3,}(?!.*`)|~{3,})")
SELF_CONTAINED = re.compile(
    r" {0,3}(?:#{1,6}[ \t]|[-*_](?:[ \t]*[-*_]){2,}[ \t]*$)|.*(?:\$\$|\\\]|\\end\{[a-zA-Z]+\*?\})[ .,;]*$"
)
"""A heading, a rule, or the end of a formula: a block that may end with its line."""
OPENING = re.compile(r"[ \t>*+.)0-9-]*(?:\$\$|\\\[|\\begin\{)")
ENDED_BY_LINE = frozenset(("heading_open", "hr", "math_block"))
ENDED_BY_BLANK = ENDED_BY_LINE | {"paragraph_open", "blockquote_open", "table_open"}


class Block(NamedTuple):
    """The HTML of a part of the answer, between two places in it, in characters."""

    begin: int
    end: int
    html: str


class Finished(NamedTuple):
    """What has been found out about a text."""

    length: int
    """Characters of its beginning that are done with."""
    blocks: Sequence[Block]


class Blocks:
    """Of one answer. `add`, `look` and `take` are cheap and of one thread; between the latter two `finish`, which
    parses, may run in another."""

    def __init__(self) -> None:
        self.length = 0
        """Characters that have been added."""
        self._begin = 0
        self._open = ""
        """The whole lines that are not done with, from `_begin` on."""
        self._line: list[str] = []
        self._fence = ""
        self._after_blank = False
        self._promising = False
        self._look_at = 0
        self._told = 0
        self._looked_at = 0
        self._references: dict[str, Any] = {}

    def add(self, text: str) -> None:
        """The answer goes on."""
        self.length += len(text)
        if self.length > markdown.MAX_INPUT:
            return
        self._line.append(text)
        if "\n" not in text:
            return
        *lines, rest = "".join(self._line).split("\n")
        self._line = [rest]
        self._open += "\n".join(lines) + "\n"
        for line in lines:
            self._note(line)

    def look(self) -> str:
        """The text for `finish`. Empty where nothing can be finished."""
        if not self._promising or len(self._open) < self._look_at:
            return ""
        if self._looked_at + len(self._open) > MAX_LOOKED_AT:
            return ""
        self._promising = False
        self._looked_at += len(self._open)
        return self._open

    def finish(self, text: str) -> Finished:
        """Find out what is finished. `take` goes on with the result."""
        try:
            tokens = markdown.block_tokens(text, dict(self._references))
            starts = _line_starts(text)
            length = starts[_finished_lines(tokens, text)]
            if not text[:length].strip():  # blank lines go with what follows them
                return Finished(0, ())
            environment: dict[str, Any] = {"references": self._references}
            parsed = markdown.parse(text[:length], environment)
            return Finished(length, self._rendered(parsed, starts, length, environment))
        except Exception:  # as in `markdown.render`: what can't be parsed stays as it is
            return Finished(len(text), ())

    def take(self, finished: Finished) -> None:
        """Go on after what is done with."""
        length = len(self._open)
        self._open = self._open[finished.length :]
        self._begin += finished.length
        self._told += sum(len(block.html) for block in finished.blocks)
        self._look_at = int(length * GROWTH) if not finished.length and length > SMALL else 0

    def _note(self, line: str) -> None:
        """Look at a whole line: whether a block may have ended with it, or before it."""
        blank = not line.strip()
        if self._fence:
            if line.strip(" >").startswith(self._fence) and not line.strip(" >" + self._fence[0]):
                self._fence, self._promising = "", True
            elif blank and len(self._open) > 5 * SMALL:  # in case the list that it is in has ended it
                self._promising = True
            return
        if fence := FENCE.match(line):
            self._fence = fence[1]
        if blank or (self._after_blank and line[0] not in " \t") or SELF_CONTAINED.match(line):
            self._promising = True
        self._after_blank = blank

    def _rendered(
        self, tokens: Sequence[Token], starts: Sequence[int], length: int, environment: dict[str, Any]
    ) -> list[Block]:
        """The blocks, those that follow one another together."""
        blocks: list[Block] = []
        run: list[Token] = []
        at = 0
        groups = list(_top_level(tokens))
        ends = [*(starts[_first_line(group)] for group in groups[1:]), length]
        room = markdown.max_output(self._begin + length) - self._told

        def close(end: int) -> None:
            nonlocal run, at, room
            most = min(room, MAX_EVENT, markdown.max_output(end - at))
            html = markdown.to_html(run, environment, most) if end > at else None
            if html is not None:
                blocks.append(Block(self._begin + at, self._begin + end, html))
                room -= len(html)
            run, at = [], end

        for group, end in zip(groups, ends, strict=False):
            start = starts[_first_line(group)]
            if markdown.has_open_reference(group):
                close(start)
                at = end
                continue
            run += group
            if end - at > RUN:
                close(end)
        close(length)
        return blocks


def _line_starts(text: str) -> list[int]:
    """Where each line begins, as the parser counts them, and where the last one ends."""
    return [0, *(found.end() for found in markdown.LINE_END.finditer(text))]


def _finished_lines(tokens: Sequence[Token], text: str) -> int:
    """How many lines of a text, which ends with a line's end, are of finished blocks."""
    last = next((token for token in reversed(tokens) if token.level == 0 and token.nesting >= 0), None)
    count = len(_line_starts(text)) - 1
    blank = not markdown.LINE_END.split(text)[-2].strip()
    if last is None or last.map is None:  # definitions of references have no tokens
        return count if blank else 0
    begin, end = last.map
    closed = last.type == "fence" and end - begin == last.content.count("\n") + 2
    if blank and (closed or last.type in ENDED_BY_BLANK):
        return count
    finished = end if closed or last.type in ENDED_BY_LINE else begin
    opening = _open_formula(tokens, text)
    if opening is None or finished <= opening:
        return finished
    return max(token.map[0] for token in tokens if token.level == 0 and token.map and token.map[0] <= opening)


def _open_formula(tokens: Sequence[Token], text: str) -> int | None:
    """The first line after the last blank one that a later line could make the beginning of a formula."""
    known = [token.map for token in tokens if token.map and token.type in ("math_block", "fence")]
    lines = markdown.LINE_END.split(text)[:-1]
    first = None
    for number in range(len(lines) - 1, -1, -1):
        if not lines[number].strip():
            break
        if OPENING.match(lines[number]) and not any(begin <= number < end for begin, end in known):
            first = number
    return first


def _top_level(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of each block at the top level."""
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield group
            group = []


def _first_line(group: Sequence[Token]) -> int:
    first = group[0].map
    assert first is not None
    return first[0]
