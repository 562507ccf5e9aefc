"""LaTeX in Markdown, as MathML: `$a$`, `$$a$$`, `\\(a\\)` and `\\[a\\]`. What can't be converted shows its source."""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import escape, unescape
from xml.etree.ElementTree import Element

from latex2mathml.converter import Converter
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

MAX_FORMULA = 1_000
"""Characters of one formula. Converting takes up to 20 us each."""
MAX_FORMULAS = 1_000
"""Of one text."""
MAX_NESTING = 40
"""Braces within braces, and elements within elements."""
MAX_LINES = 40
"""Lines of a displayed formula."""

# Each looks no further than the next place at which it could begin again, so a text is gone through once.
INLINE = tuple(
    (opening, re.compile(pattern, re.DOTALL))
    for opening, pattern in (
        ("$$", r"\$\$((?:[^$\\]|\\.){1,%d})\$\$"),
        ("$", r"\$(?![\s$])((?:[^$\\]|\\.){1,%d})(?<!\s)\$(?!\d)"),
        ("\\(", r"\\\(((?:[^\\]|\\[^()\[\]]){1,%d})\\\)"),
        ("\\[", r"\\\[((?:[^\\]|\\[^()\[\]]){1,%d})\\\]"),
    )
    for pattern in [pattern % MAX_FORMULA]
)
DISPLAYED = {"$$": "$$", "\\[": "\\]"}

MACROS = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|newenvironment|DeclareMathOperator|[gex]?def|let)(?![a-zA-Z])"
)
"""What defines commands: a few lines of them expand to more than there is memory for."""
ELEMENTS = frozenset(
    [
        "math",
        "mrow",
        "mi",
        "mn",
        "mo",
        "mtext",
        "ms",
        "mspace",
        "mfrac",
        "msqrt",
        "mroot",
        "msub",
        "msup",
        "msubsup",
        "munder",
        "mover",
        "munderover",
        "mmultiscripts",
        "mprescripts",
        "none",
        "mtable",
        "mtr",
        "mlabeledtr",
        "mtd",
        "mstyle",
        "mpadded",
        "mphantom",
        "menclose",
    ]
)
LENGTH = r"-?\d?(?:\.\d{1,4})?(?:em|ex|pt)?"
LENGTHS = re.compile(f"{LENGTH}(?: {LENGTH}){{0,20}}")
WORDS = re.compile(r"[a-z0-9 -]{1,80}")
COLOUR = re.compile(r"[a-zA-Z]{1,20}|#[0-9a-fA-F]{3,6}")
ATTRIBUTES = {
    **dict.fromkeys(
        [
            "display",
            "displaystyle",
            "scriptlevel",
            "stretchy",
            "symmetric",
            "largeop",
            "movablelimits",
            "fence",
            "separator",
            "form",
            "accent",
            "accentunder",
            "mathvariant",
            "columnalign",
            "columnlines",
            "rowlines",
            "rowalign",
            "notation",
        ],
        WORDS,
    ),
    **dict.fromkeys(
        [
            "width",
            "lspace",
            "rspace",
            "rowspacing",
            "columnspacing",
            "linethickness",
            "minsize",
            "maxsize",
            "voffset",
        ],
        LENGTHS,
    ),
    "mathcolor": COLOUR,
}
"""What of an element is kept: nothing that names an address, or takes up a page."""


class _NoFormula(Exception):
    """It is not LaTeX that can be shown as anything but its source."""


@lru_cache(512)
def mathml(latex: str, displayed: bool) -> str | None:
    """A formula as MathML. None for what is no LaTeX that can be shown as anything but its source."""
    if len(latex) > MAX_FORMULA or MACROS.search(latex) or _depth(latex) > MAX_NESTING:
        return None
    try:
        root = Converter(display="block" if displayed else "inline").convert_to_element(latex)
        return "".join(_written(root, 0))
    except Exception:  # the converter has an error for each kind of mistake, and others that it does not expect
        return None


def _depth(latex: str) -> int:
    depth = most = 0
    for each in latex:
        if each == "{":
            depth += 1
            most = max(most, depth)
        elif each == "}":
            depth -= 1
    return most


def _written(element: Element, depth: int) -> Iterator[str]:
    """An element as HTML; a row of one stands for what is in it. Raises _NoFormula for an unknown command."""
    if depth > MAX_NESTING or element.tag not in ELEMENTS:
        raise _NoFormula
    if element.tag == "mrow" and len(element) == 1 and not element.text and not _attributes(element):
        yield from _written(element[0], depth + 1)
        return
    text = unescape(element.text or "")
    if element.tag != "mtext" and text.startswith("\\") and text[1:].isalpha():
        raise _NoFormula
    yield f"<{element.tag}{_attributes(element)}>"
    yield escape(text, quote=False)
    for child in element:
        yield from _written(child, depth + 1)
        yield escape(unescape(child.tail or ""), quote=False)
    yield f"</{element.tag}>"


def _attributes(element: Element) -> str:
    kept = (
        f' {name}="{value}"'
        for name, value in element.attrib.items()
        if name in ATTRIBUTES and value != "inline" and ATTRIBUTES[name].fullmatch(value)
    )
    return "".join(kept)


def add_rules(parser: MarkdownIt) -> None:
    """Have a parser make tokens of formulas: `math_inline`, and `math_block`, whose `markup` are the characters that
    they begin with."""
    parser.inline.ruler.before("escape", "math_inline", _inline)
    parser.block.ruler.before("blockquote", "math_block", _block, {"alt": ["paragraph", "blockquote", "list"]})


def _inline(state: StateInline, silent: bool) -> bool:
    source, at = state.src, state.pos
    if source[at] not in "$\\":
        return False
    for opening, pattern in INLINE:
        if not source.startswith(opening, at):
            continue
        if opening == "$" and at and (source[at - 1].isalnum() or source[at - 1] == "$"):
            return False
        found = pattern.match(source, at, state.posMax)
        if found is None or not found[1].strip():
            continue
        state.env["formulas"] += 1
        if state.env["formulas"] > MAX_FORMULAS:
            return False
        if not silent:
            token = state.push("math_inline", "math", 0)
            token.content, token.markup = found[1], opening
        state.pos = found.end()
        return True
    return False


def _block(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    if state.is_code_block(first):
        return False
    opening = state.src[state.bMarks[first] + state.tShift[first] :][:2]
    closing = DISPLAYED.get(opening)
    if closing is None:
        return False
    lines: list[str] = []
    for number in range(first, min(last, first + MAX_LINES)):
        line = state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].strip()
        if number > first and (not line or state.sCount[number] < state.blkIndent):
            return False
        if number == first:
            line = line[2:]
        elif opening == "\\[" and line.startswith(opening):
            return False
        ended = line.rstrip(" .,;").endswith(closing)
        if ended:
            line = line.rstrip(" .,;").removesuffix(closing)
        lines.append(line)
        if closing in line or sum(map(len, lines)) > MAX_FORMULA:
            return False
        if ended:
            break
    else:
        return False
    latex = "\n".join(lines).strip()
    if not latex:
        return False
    if not silent:
        state.line = first + len(lines)
        token = state.push("math_block", "math", 0)
        token.content, token.markup, token.block, token.map = latex, opening, True, [first, state.line]
    return True
