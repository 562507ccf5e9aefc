"""Answers as HTML. Models write Markdown; what they write is not trusted.

An answer is rendered when it ends, by the process that ends it, and while it is written a few blocks at a time
(core/conversation/blocks.py). Every text has a bounded cost, whatever its shape: one that would cost more has no
HTML, and is shown as it was written.
"""

import logging
import re
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from pygments.token import STANDARD_TYPES

from core.conversation import maths
from core.conversation.emphasis import CjkFriendlyInline
from core.conversation.highlighting import Code, highlighter

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
MAX_MATHS = 8_000
"""Characters of a text's formulas that are converted, at up to 20 us each. The rest shows its source."""
EACH_FORMULA = 8
"""Characters that a formula counts for beside its own."""
MAX_ADDRESSES = 1_000
"""Addresses that become links where they stand in a text as they are, at 60 us each."""
MAX_OUTPUT = 256 * 1024
"""Characters of HTML. One reference, used often, makes a text thousands of times as long."""
MAX_GROWTH = 8
"""Characters of HTML for each of Markdown, beside BASE_OUTPUT: they are kept, and told at every reading. Tables of
one character a cell grow sixfold, links to short addresses sevenfold, prose by a tenth."""
BASE_OUTPUT = 16 * 1024
"""Characters of HTML that any text may have: a short one may be all links."""
MATHS_GROWTH = 5
"""Characters of formulas' HTML for each of the text, beside half of BASE_OUTPUT. A formula grows tenfold."""

LINE_END = re.compile(r"\r\n?|\n")
DELIMITER = re.compile(r"[\s>|:-]+")
"""The line below a table's head, within quotes and lists too."""
ADDRESS = re.compile(r"https?://[^\s<>\"`\\|\x00-\x20]{1,2000}")
"""One that stands in the text as it is."""
AFTER_ADDRESS = ".,;:!?'*_~"
OPENING = {")": "(", "]": "["}
LABEL = re.compile(r"\[[^\[\]]*\S[^\[\]]*\]")
"""What a reference that is defined below would make a link of."""
ABSOLUTE = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
"""How an address begins that may become a link."""
LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,30}")


class _TooMuch(Exception):
    """The text would cost more than an answer may."""


def render(text: str) -> str | None:
    """Markdown as HTML that is safe to put into a page: rendered without raw HTML, then cleaned by a list of allowed
    elements (OWASP ASVS 5, 1.3.1). None when it would cost too much; then the text itself is what is shown."""
    try:
        environment: MutableMapping[str, Any] = {}
        return to_html(parse(text, environment), environment, max_output(len(text)))
    except _TooMuch:
        return None
    except Exception as error:
        # A parser's mistake about one text must not cost the answer. The error's words may quote the text.
        logger.warning("an answer could not be rendered: %s", type(error).__name__)
        return None


def parse(text: str, environment: MutableMapping[str, Any]) -> list[Token]:
    """The tokens of a text. `environment` keeps the references that it defines. Raises where it costs too much."""
    if len(text) > MAX_INPUT or cells(text) > MAX_CELLS:
        raise _TooMuch
    environment.update(steps=0, addresses=0, formulas=0)
    tokens = _markdown.parse(text, environment)
    _measure(tokens, max_output(len(text)))
    return tokens


def to_html(tokens: Sequence[Token], environment: MutableMapping[str, Any], most: int) -> str | None:
    """Tokens as clean HTML; None where that is longer than `most`."""
    environment.update(
        maths=MAX_MATHS, maths_html=BASE_OUTPUT // 2 + MATHS_GROWTH * (most - BASE_OUTPUT) // MAX_GROWTH
    )
    fences = [token for token in tokens if token.type == "fence" and _language(token)]
    if fences:
        code = [Code(_language(token), token.content) for token in fences]
        for token, html in zip(fences, highlighter.highlight(code), strict=True):
            token.meta["html"] = html
    html = _cleaner.clean(_markdown.renderer.render(tokens, _markdown.options, environment))
    return html if len(html) <= most else None


def max_output(length: int) -> int:
    """Characters of HTML that a text of some length may become."""
    return min(MAX_OUTPUT, MAX_GROWTH * length + BASE_OUTPUT)


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


def block_tokens(text: str, references: MutableMapping[str, Any]) -> list[Token]:
    """The blocks of a text, and not what is in them. Raises as `parse` does."""
    tokens: list[Token] = []
    environment = {"references": references, "steps": 0, "formulas": 0}
    _markdown.block.parse(LINE_END.sub("\n", text).replace("\0", "\ufffd"), _markdown, environment, tokens)
    return tokens


def has_open_reference(tokens: Iterable[Token]) -> bool:
    """Whether there is something in brackets that would be a link if a later line defined it."""
    for token in tokens:
        words = "".join(each.content for each in token.children or () if each.type == "text")
        if "[" in words and LABEL.search(words):
            return True
    return False


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


def _address(state: StateInline, silent: bool) -> bool:
    """An address that stands in the text as it is: a link, as GitHub's Markdown has it."""
    source, at = state.src, state.pos
    if state.linkLevel or not source.startswith("://", at):
        return False
    scheme = next((each for each in ("https", "http") if state.pending.endswith(each)), None)
    if scheme is None or state.pending[: -len(scheme)][-1:].isalnum():
        return False
    found = ADDRESS.match(source, at - len(scheme), state.posMax)
    state.env["addresses"] += 1
    if found is None or state.env["addresses"] > MAX_ADDRESSES:
        return False
    url = found[0].rstrip(AFTER_ADDRESS)
    while url.endswith((")", "]")) and url.count(url[-1]) > url.count(OPENING[url[-1]]):
        url = url[:-1].rstrip(AFTER_ADDRESS)
    href = state.md.normalizeLink(url)
    if len(url) <= len(scheme) + 3 or not state.md.validateLink(href):
        return False
    if not silent:
        state.pending = state.pending[: -len(scheme)]
        state.push("link_open", "a", 1).attrs = {"href": href}
        state.push("text", "", 0).content = url
        state.push("link_close", "a", -1)
    state.pos += len(url) - len(scheme)
    return True


def _adapt(state: StateCore) -> None:
    """What becomes of images, of boxes at the beginning of list items, and of the sides of a table's columns."""
    tokens = state.tokens
    for number, token in enumerate(tokens):
        if token.type in ("th_open", "td_open") and "style" in token.attrs:
            side = str(token.attrs.pop("style")).removeprefix("text-align:")
            token.attrs["class"] = f"align-{side}"
        elif token.children:
            token.children = _without_images(token.children)
            if number > 1 and tokens[number - 2].type == "list_item_open":
                _add_box(tokens[number - 2], token.children)


def _add_box(item: Token, words: list[Token]) -> None:
    first = words[0]
    if first.type != "text" or first.content[:4] not in ("[ ] ", "[x] ", "[X] "):
        return
    box = Token("checkbox", "input", 0, level=first.level, attrs={"checked": ""} if first.content[1] != " " else {})
    first.content = first.content[3:]
    words.insert(0, box)
    item.attrs["class"] = "task"


def _without_images(words: Sequence[Token]) -> list[Token]:
    """An image is a link to it, or within a link a word of that: its address would tell a stranger's server that, and
    when, an answer was read."""
    kept: list[Token] = []
    links = 0
    for token in words:
        links += {"link_open": 1, "link_close": -1}.get(token.type, 0)
        if token.type != "image":
            kept.append(token)
            continue
        source = str(token.attrs.get("src", ""))
        text = Token("text", "", 0, level=token.level)
        text.content = "".join(each.content for each in token.children or ()).strip() or source
        if links or not source:
            kept.append(text)
            continue
        kept.append(Token("link_open", "a", 1, level=token.level, attrs={"href": source}))
        kept.append(text)
        kept.append(Token("link_close", "a", -1, level=token.level))
    return kept


def _language(token: Token) -> str:
    """What a block of code says that it is."""
    words = token.info.split(maxsplit=1)
    return words[0] if words and LANGUAGE.fullmatch(words[0]) else ""


def _fence(self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Any) -> str:
    token = tokens[at]
    language = _language(token)
    html = token.meta.get("html")
    of = f' class="language-{escape(language)}"' if language else ""
    return f"<pre><code{of}>{escape(token.content, quote=False) if html is None else html}</code></pre>\n"


def _checkbox(self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Any) -> str:
    return '<input type="checkbox" disabled checked>' if tokens[at].attrs else '<input type="checkbox" disabled>'


def _formula(self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Any) -> str:
    token = tokens[at]
    html = _mathml(token.content, maths.is_displayed(token.markup), env)
    if html is None:
        html = f"<code>{escape(maths.source(token.content, token.markup), quote=False)}</code>"
    return f'<p class="math">{html}</p>\n' if token.block else html


def _mathml(latex: str, displayed: bool, env: Any) -> str | None:
    """A formula's MathML; None where it is none, or the text has had its share."""
    env["maths"] -= len(latex) + EACH_FORMULA
    html = maths.mathml(latex, displayed) if env["maths"] >= 0 else None
    if html is None:
        return None
    env["maths_html"] -= len(html)
    return html if env["maths_html"] >= 0 else None


class _Markdown(MarkdownIt):
    """What is a link leads to another place by its whole address: one without a scheme would lead into the page that
    shows the answer."""

    def validateLink(self, url: str) -> bool:  # noqa: N802  the library's name
        return ABSOLUTE.match(url) is not None


def _parser() -> MarkdownIt:
    parser = _Markdown("commonmark", {"html": False, "breaks": True})
    parser.inline = CjkFriendlyInline(parser.inline)
    for ruler in (parser.block.ruler, parser.inline.ruler):
        for rule in ruler.__rules__:
            rule.fn = _counted(rule.fn)
    # Ours go through a text once, and have bounds of their own.
    maths.add_rules(parser)
    parser.inline.ruler.before("escape", "address", _address)
    parser.core.ruler.push("adapt", _adapt)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("checkbox", _checkbox)
    parser.add_render_rule("math_inline", _formula)
    parser.add_render_rule("math_block", _formula)
    return parser.enable(["table", "strikethrough"])


_markdown = _parser()
_cleaner = nh3.Cleaner(
    tags={
        *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "span", "input"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "a", "table", "thead", "tbody", "tr", "th", "td"),
        *maths.ELEMENTS,
    },
    attributes={
        "a": {"href", "title"},
        "code": {"class"},
        "ol": {"start"},
        "input": {"checked", "disabled"},
        **{key: set(maths.ATTRIBUTES) for key in maths.ELEMENTS},
    },
    allowed_classes={
        "span": {name for name in STANDARD_TYPES.values() if name},
        "p": {"math"},
        "li": {"task"},
        **{key: {"align-left", "align-center", "align-right"} for key in ("th", "td")},
    },
    tag_attribute_values={"input": {"type": {"checkbox"}}},
    set_tag_attribute_values={"a": {"target": "_blank"}},
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
)
"""No images, no styles, and no elements that act."""
