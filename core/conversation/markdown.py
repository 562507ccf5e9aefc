"""Answers as HTML. Models write Markdown; what they write is not trusted.

An answer is rendered once, when it ends, by the process that ends it. Every text has a bounded cost, whatever its
shape: one that would cost more has no HTML, and is shown as it was written.
"""

import logging
import re
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

logger = logging.getLogger(__name__)

MAX_INPUT = 48 * 1024
"""Characters of Markdown. Prose of this length takes about 50 ms on one core."""
MAX_STEPS = 40_000
"""Tries of a grammar rule at a place in the text. Brackets, quotes, lists and lines can be ordered so that their
number grows with the square of the length. Prose of MAX_INPUT characters takes 33,000; of all shapes tried, the
slowest steps (links to foreign names) take 4 us each, and the slowest text altogether 120 ms."""
MAX_CELLS = 4_000
"""Cells of a text's tables, counted before it is parsed: rows are filled up to the table's columns, so that a line of
one character can become hundreds of cells. A cell takes about 13 us."""
MAX_NESTING = 16
"""Levels of quotes, lists (two each) and emphasis. At 20 the parser drops what is inside."""
MAX_OUTPUT = 256 * 1024
"""Characters of HTML. One reference, used often, makes a text thousands of times as long."""
MAX_GROWTH = 8
"""Characters of HTML for each of Markdown, beside BASE_OUTPUT: they are kept, and told at every reading. Tables of
one character a cell grow sixfold, links to short addresses sevenfold, prose by a tenth."""
BASE_OUTPUT = 16 * 1024
"""Characters of HTML that any text may have: a short one may be all links."""

LINE_END = re.compile(r"\r\n?|\n")
DELIMITER = re.compile(r"[\s>|:-]+")
"""The line below a table's head, within quotes and lists too."""


class _TooMuch(Exception):
    """The text would cost more than an answer may."""


def render(text: str) -> str | None:
    """Markdown as HTML that is safe to put into a page: rendered without raw HTML, then cleaned by a list of allowed
    elements (OWASP ASVS 5, 1.3.1). None when it would cost too much; then the text itself is what is shown."""
    try:
        if len(text) > MAX_INPUT or cells(text) > MAX_CELLS:
            return None
        most = max_output(text)
        environment: MutableMapping[str, Any] = {}
        tokens = _markdown.parse(text, environment)
        _measure(tokens, most)
        html = _cleaner.clean(_markdown.renderer.render(tokens, _markdown.options, environment))
        return html if len(html) <= most else None
    except _TooMuch:
        return None
    except Exception as error:
        # A parser's mistake about one text must not cost the answer. The error's words may quote the text.
        logger.warning("an answer could not be rendered: %s", type(error).__name__)
        return None


def max_output(text: str) -> int:
    """Characters of HTML that a text may become."""
    return min(MAX_OUTPUT, MAX_GROWTH * len(text) + BASE_OUTPUT)


def cells(text: str) -> int:
    """At least as many cells as the text's tables have: columns times rows, up to the next blank line."""
    count = columns = 0
    for line in LINE_END.split(text):
        if "-" in line and DELIMITER.fullmatch(line):
            columns = max(columns, line.strip("> \t|").count("|") + 1)
        elif not line.strip("> \t"):
            columns = 0
        count += columns
    return count


def _counted(rule: Callable[..., bool]) -> Callable[..., bool]:
    """A rule that counts its tries within one text and ends that text's parsing when they are too many."""

    def run(state: Any, *place: Any) -> bool:
        steps = state.env["steps"] = state.env.get("steps", 0) + 1
        if steps > MAX_STEPS:
            raise _TooMuch
        return rule(state, *place)

    return run


def _measure(tokens: Iterable[Token], most: int) -> None:
    """Raise _TooMuch for what is nested too deep, or would become longer than `most`, before any of it is written."""
    length = 0
    for token in tokens:
        inline = token.children
        for each in (token,) if inline is None else inline:
            length += len(each.content) + sum(len(str(value)) for value in each.attrs.values())
            level = each.level if inline is None else token.level + each.level
            if length > most or level > MAX_NESTING:
                raise _TooMuch


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True})
    for ruler in (parser.block.ruler, parser.inline.ruler):
        for rule in ruler.__rules__:
            rule.fn = _counted(rule.fn)
    return parser.enable(["table", "strikethrough"])


_markdown = _parser()
_cleaner = nh3.Cleaner(
    tags={
        *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "a", "table", "thead", "tbody", "tr", "th", "td"),
    },
    attributes={"a": {"href", "title"}, "code": {"class"}, "ol": {"start"}},
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
)
"""No images: their addresses would tell a stranger's server that, and when, an answer was read."""
