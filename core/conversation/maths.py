"""LaTeX in Markdown, as MathML: `$a$`, `$$a$$`, `\\(a\\)`, `\\[a\\]`, and environments, in these or by themselves.
What can't be converted shows its source, and so does a formula that never closes."""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import escape, unescape
from typing import NamedTuple
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
ENVIRONMENT = "\\begin"
"""The markup of a formula that is an environment: its delimiters are part of it."""
BEGIN = re.compile(r"\\begin\{([a-zA-Z]{1,20}\*?)\}")
MAX_WITHIN = 4
"""Environments of one name within another of it."""
ALIASES = {
    **dict.fromkeys(("gather", "gathered", "gather*", "multline", "multline*"), "matrix"),
    **dict.fromkeys(
        ("aligned", "flalign", "flalign*", "alignat", "alignat*", "alignedat", "eqnarray", "eqnarray*"), "align*"
    ),
    **dict.fromkeys(("dcases", "rcases"), "cases"),
    **dict.fromkeys(("equation", "equation*", "displaymath", "math"), ""),
}
"""Environments that the converter doesn't know: what they look like is that of others, or of a bare formula."""
ENVIRONMENTS = frozenset(
    [
        *ALIASES,
        *("align", "align*", "array", "cases", "split", "smallmatrix", "matrix"),
        *("pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix"),
    ]
)
"""Those that can be converted."""
DELIMITER = re.compile(r"\\(begin|end)\{([a-zA-Z]+\*?)\}")
COLUMNS = re.compile(r"(\\begin\{align(?:ed)?at\*?\})\{\d\}")
PUNCTUATION = " .,;"
"""What may follow a displayed formula on its last line."""
ESCAPED_BRACKETS = re.compile(r"\\\[[^\[\]\\\n]*\]|\\\([^()\\\n]*\)")
"""Brackets that are escaped as Markdown has it, and no formula that never closes."""

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
    if not all(name in ENVIRONMENTS for _, name in DELIMITER.findall(latex)):
        return None
    latex = DELIMITER.sub(_known, COLUMNS.sub(r"\1", latex))
    try:
        root = Converter(display="block" if displayed else "inline").convert_to_element(latex)
        return "".join(_written(root, 0))
    except Exception:  # the converter has an error for each kind of mistake, and others that it does not expect
        return None


def is_displayed(markup: str) -> bool:
    """Whether a formula of this markup is one that stands by itself."""
    return markup == ENVIRONMENT or markup in DISPLAYED


def source(latex: str, markup: str) -> str:
    """A formula as it was written."""
    if markup == ENVIRONMENT:
        return latex
    return markup + latex + DISPLAYED.get(markup, "$" if markup == "$" else "\\)")


def _known(delimiter: re.Match[str]) -> str:
    """The beginning or the end of an environment, as one that the converter knows."""
    side, name = delimiter[1], ALIASES.get(delimiter[2], delimiter[2])
    return f"\\{side}{{{name}}}" if name else ""


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
    parser.inline.ruler.after("math_inline", "math_source", _source)
    parser.block.ruler.before("blockquote", "math_block", _block, {"alt": ["paragraph", "blockquote", "list"]})


def _inline(state: StateInline, silent: bool) -> bool:
    source, at = state.src, state.pos
    if source[at] not in "$\\":
        return False
    found = _formula_at(source, at, state.posMax)
    if found is not None:
        state.env["formulas"] += 1
    if found is None or state.env["formulas"] > MAX_FORMULAS:
        _note_open(state)
        return False
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.content, token.markup = found.latex, found.opening
    state.pos = found.end
    return True


class _Formula(NamedTuple):
    latex: str
    opening: str
    end: int


def _formula_at(source: str, at: int, end: int) -> _Formula | None:
    """The formula that begins at a place in a text, and ends before `end`."""
    for opening, pattern in INLINE:
        if not source.startswith(opening, at):
            continue
        if opening == "$" and at and (source[at - 1].isalnum() or source[at - 1] == "$"):
            return None
        found = pattern.match(source, at, end)
        if found is not None and found[1].strip():
            return _Formula(found[1], opening, found.end())
    begin = BEGIN.match(source, at, end)
    ended = _end_of(begin, source, min(end, at + MAX_FORMULA)) if begin else None
    return _Formula(source[at:ended], ENVIRONMENT, ended) if ended else None


def _end_of(begin: re.Match[str], source: str, most: int) -> int | None:
    """Where the environment ends that begins here; None: not before `most`, or there are too many within it."""
    opening, closing = begin[0], f"\\end{{{begin[1]}}}"
    at = begin.end()
    for _ in range(MAX_WITHIN):
        at = source.find(closing, at, most)
        if at < 0:
            return None
        at += len(closing)
        if source.count(opening, begin.start(), at) == source.count(closing, begin.start(), at):
            return at
    return None


def _note_open(state: StateInline) -> None:
    """What begins here is a formula, perhaps, that never closes or is too long: from here on, the paragraph's
    backslashes are LaTeX's, and not Markdown's."""
    source, at = state.src, state.pos
    opens = source.startswith(("\\(", "\\[", "$$"), at) or BEGIN.match(source, at)
    if opens and not ESCAPED_BRACKETS.match(source, at):
        within, begin = state.env.get("open_formula", ("", 0))
        state.env["open_formula"] = (source, min(at, begin) if within is source else at)


def _source(state: StateInline, silent: bool) -> bool:
    """A backslash, and what it would escape, after the beginning of a formula that never closes."""
    source, at = state.src, state.pos
    within, begin = state.env.get("open_formula", ("", 0))
    if within is not source or at < begin or source[at] != "\\" or at + 1 >= state.posMax or source[at + 1] == "\n":
        return False
    if not silent:
        state.pending += source[at : at + 2]
    state.pos += 2
    return True


def _block(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    if state.is_code_block(first):
        return False
    start = state.bMarks[first] + state.tShift[first]
    begin = BEGIN.match(state.src, start, state.eMarks[first])
    opening = ENVIRONMENT if begin else state.src[start : start + 2]
    closing = f"\\end{{{begin[1]}}}" if begin else DISPLAYED.get(opening)
    if closing is None:
        return False
    lines: list[str] = []
    depth = 0
    for number in range(first, min(last, first + MAX_LINES)):
        line = state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].strip()
        if number > first and (not line or state.sCount[number] < state.blkIndent):
            return False
        if begin:
            depth += line.count(begin[0]) - line.count(closing)
        elif number == first:
            line = line[2:]
        elif opening == "\\[" and line.startswith(opening):
            return False
        ended = line.rstrip(PUNCTUATION).endswith(closing) and depth == 0
        if ended:
            line = line.rstrip(PUNCTUATION)
            line = line if begin else line.removesuffix(closing)
        lines.append(line)
        if sum(map(len, lines)) > MAX_FORMULA or (not ended and depth == 0 if begin else closing in line):
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
