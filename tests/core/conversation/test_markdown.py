import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.conversation import maths
from core.conversation.markdown import LINE_END, MAX_CELLS, MAX_INPUT, MAX_OUTPUT, cells, max_output, render
from tests.support.slowness import slowness

LINK = 'target="_blank" rel="noopener noreferrer nofollow"'


ALIGNED = (
    '<math display="block"><mtable displaystyle="true" rowspacing="3pt" columnspacing="0em 2em">'
    '<mtr><mtd columnalign="right"><mi>a</mi></mtd><mtd columnalign="left"><mi></mi><mo>=</mo><mi>b</mi></mtd></mtr>'
    '<mtr><mtd columnalign="right"></mtd><mtd columnalign="left"><mi></mi><mo>=</mo><mi>c</mi></mtd></mtr>'
    "</mtable></math>"
)
PARENTHESES = "<mo>(</mo><mtable><mtr><mtd><mi>a</mi></mtd></mtr></mtable><mo>)</mo>"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**bold** and `code`", "<p><strong>bold</strong> and <code>code</code></p>\n"),
        (
            "| a |\n|--:|\n| 1 |",
            '<table>\n<thead>\n<tr>\n<th class="align-right">a</th>\n</tr>\n</thead>\n'
            '<tbody>\n<tr>\n<td class="align-right">1</td>\n</tr>\n</tbody>\n</table>\n',
        ),
        ("one\ntwo", "<p>one<br>\ntwo</p>\n"),
        ("```\nx<y\n```", "<pre><code>x&lt;y\n</code></pre>\n"),
        ("```nonsense\nx<y\n```", '<pre><code class="language-nonsense">x&lt;y\n</code></pre>\n'),
        (
            "```python\nx<1\n```",
            '<pre><code class="language-python"><span class="n">x</span><span class="o">&lt;</span>'
            '<span class="mi">1</span>\n</code></pre>\n',
        ),
        ("[a](https://x.example)", f'<p><a href="https://x.example" {LINK}>a</a></p>\n'),
        (
            "(https://x.example/a_b_c).",
            f'<p>(<a href="https://x.example/a_b_c" {LINK}>https://x.example/a_b_c</a>).</p>\n',
        ),
        ("[a](/auth/logout) [b](c)\n\n[^1]: d", "<p>[a](/auth/logout) [b](c)</p>\n<p>[^1]: d</p>\n"),
        ("![a *b*](https://x.example/c.png)", f'<p><a href="https://x.example/c.png" {LINK}>a b</a></p>\n'),
        (
            "- [ ] a\n- [x] b",
            '<ul>\n<li class="task"><input type="checkbox" disabled=""> a</li>\n'
            '<li class="task"><input type="checkbox" disabled="" checked=""> b</li>\n</ul>\n',
        ),
        ("\\(x\\), $y$; \\$5 and $6", "<p><math><mi>x</mi></math>, <math><mi>y</mi></math>; $5 and $6</p>\n"),
        ("costs $5 and $6, US$7 and HK$8", "<p>costs $5 and $6, US$7 and HK$8</p>\n"),
        (
            "So\n\\[\na\n- b\n\\]\n.",
            '<p>So</p>\n<p class="math"><math display="block"><mrow><mi>a</mi><mo>\u2212</mo><mi>b</mi></mrow></math>'
            "</p>\n<p>.</p>\n",
        ),
        ("\\(\\nonsense{a\\)", "<p><code>\\(\\nonsense{a\\)</code></p>\n"),
        (
            "So \\begin{aligned} a &= b \\\\ &= c \\end{aligned} \\*",
            f"<p>So {ALIGNED} *</p>\n",
        ),
        ("So\n\\begin{aligned}\na &= b \\\\\n&= c\n\\end{aligned}.", f'<p>So</p>\n<p class="math">{ALIGNED}</p>\n'),
        ("\\[\\begin{aligned} a &= b \\\\ &= c \\end{aligned}\\]", f'<p class="math">{ALIGNED}</p>\n'),
        (
            "\\begin{pmatrix}\n\\begin{pmatrix} a \\end{pmatrix} \\\\\nb\n\\end{pmatrix}",
            f'<p class="math"><math display="block"><mrow><mo>(</mo><mtable><mtr><mtd>{PARENTHESES}</mtd></mtr>'
            "<mtr><mtd><mi>b</mi></mtd></mtr></mtable><mo>)</mo></mrow></math></p>\n",
        ),
        (
            "a \\begin{tabular}{l} 5\\% \\\\ b \\end{tabular}",
            "<p>a <code>\\begin{tabular}{l} 5\\% \\\\ b \\end{tabular}</code></p>\n",
        ),
        ("open \\(\\{a\\, **b**\n\n\\*c", "<p>open \\(\\{a\\, <strong>b</strong></p>\n<p>*c</p>\n"),
        ("open \\begin{align} a \\\\ b", "<p>open \\begin{align} a \\\\ b</p>\n"),
        ("open \\[ a \\\\ [b] \\(c\\)", "<p>open \\[ a \\\\ [b] <math><mi>c</mi></math></p>\n"),
        ("\\[" + "a\\\\" * 800 + "\\]", "<p>\\[" + "a\\\\" * 800 + "\\]</p>\n"),
        ("\\[a](b) \\(1) \\*", "<p>[a](b) (1) *</p>\n"),
        ("`$a$` \\*b\\*", "<p><code>$a$</code> *b*</p>\n"),
    ],
)
def test_markdown_becomes_html(text: str, html: str) -> None:
    assert render(text) == html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("历经**10年发展\uff0c**年", "历经<strong>10年发展\uff0c</strong>年"),
        ("含**「重点」**内容", "含<strong>「重点」</strong>内容"),
        ("**文字\uff1a**后续", "<strong>文字\uff1a</strong>后续"),
        ("**粗体。**源码", "<strong>粗体。</strong>源码"),
        ("**文字:**后续", "<strong>文字:</strong>后续"),
        ("**“重点”**内容", "<strong>“重点”</strong>内容"),
        ("これは*「重要」*です", "これは<em>「重要」</em>です"),
        ("**그는(He)**가 ~~“말했다.”~~고", "<strong>그는(He)</strong>가 <s>“말했다.”</s>고"),
        ("**\U00020000。**\U00020001", "<strong>\U00020000。</strong>\U00020001"),
        ("\u845b\U000e0100**“a”**x", "\u845b\U000e0100**“a”**x"),
        ("\u845b\U000e0100**“a”**\u845b", "\u845b\U000e0100<strong>“a”</strong>\u845b"),
        ("a**“\ufe01”\ufe01**b", "a**“\ufe01”\ufe01**b"),
        ("这是**粗体**文字\uff0c*斜*体", "这是<strong>粗体</strong>文字\uff0c<em>斜</em>体"),
        ("****重****点 ***“一”*二**三", "<strong><strong>重</strong></strong>点 <strong><em>“一”</em>二</strong>三"),
        ("**[「一」](https://x.example)**二", f'<strong><a href="https://x.example" {LINK}>「一」</a></strong>二'),
    ],
)
def test_emphasis_beside_chinese_japanese_and_korean_needs_no_space(text: str, html: str) -> None:
    assert render(text) == f"<p>{html}</p>\n"


@pytest.mark.parametrize(
    "text",
    [
        "文 ** 字 ** 后",
        "**\u3000文字** 后",
        "文__「重点」__内容",
        "文_重点_内容",
        "`**文字\uff1a**后续`",
        "\\*\\*文字\uff1a\\*\\*后续",
        'a**"b"**c',
        "a**✅b!**c",
        "foo**.bar**",
    ],
)
def test_what_was_no_emphasis_elsewhere_is_still_none(text: str) -> None:
    html = render(text) or ""
    assert "<strong>" not in html
    assert "<em>" not in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](https://spy.example/pixel.png)",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "<a href='javascript:alert(1)'>x</a>",
        "<style>body{display:none}</style>",
        '[x](https://a.example "onmouseover=alert(1)")',
        "<iframe src=https://a.example></iframe>",
        "```\n</code></pre><script>alert(1)</script>\n```",
        "```html\n</code></pre><script>alert(1)</script>\n```",
        '```x"onclick=alert(1)\na\n```',
        "\\(\\href{javascript:alert(1)}{x} \\text{</math><img src=x onerror=alert(1)>}\\)",
        "\\(\\style{x}{<b>} \\class{y}{z} \\color{red;background:url(//x)}{a} \\rule{99em}{99em}\\)",
        'https://a.example/"onclick=alert(1)// <b>',
        "[![a](https://spy.example/x.png)](https://b.example) ![](data:text/html,a)",
    ],
)
def test_what_a_model_writes_cant_act_or_call_home(text: str) -> None:
    reader = _Elements()
    reader.feed(render(text) or "")
    for tag, attributes in reader.found:
        assert tag in ("p", "a", "pre", "code", "br", "span") or tag in maths.ELEMENTS
        assert set(attributes) <= {"href", "title", "rel", "class", "target", "mathcolor"}
        assert str(attributes.get("href", "https:")).startswith("https:")


class _Elements(HTMLParser):
    """What a browser would make of it: text is harmless, elements and attributes are not."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


PROSE = (
    "The *quick* brown fox — jumps **over** the `lazy` dog, [again](https://a.example/x) and again.\n"
    "- and **this**: is an item of a list, with some words in it\n  - and one below it, of `code`\n\n"
)
HONEST = {
    "prose": PROSE * (MAX_INPUT // len(PROSE)),
    "code": "```python\n" + "x = [f(y) < 3]  # not *this*\n" * (MAX_INPUT // 30) + "```",
    "a table": "|a|b|c|d|\n|-|:-|-:|:-:|\n" + "| one | 2 | **3** | `4` |\n" * 900,
    "lists": "- a\n  - b\n    - c\n      - d\n        1. e\n           - f *g **h***\n\n" * 40,
    "references": "As [1] says, and [2].\n\n" * 50 + "[1]: https://one.example\n[2]: https://two.example\n",
    "paragraphs": "One line.\nAnother line of it.\n\n" * 1000,
}


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST)
def test_long_honest_answers_are_rendered(text: str) -> None:
    assert len(text) <= MAX_INPUT
    html = render(text)
    assert html is not None
    assert len(html) <= MAX_OUTPUT


def _lines(*, columns: int, row: str, before: str = "", end: str = "\n") -> str:
    table = [before + "|" + "a|" * columns, before + "|" + "-|" * columns]
    return end.join([*table, *[before + row] * ((MAX_INPUT - 4 * columns) // len(before + row + end))])


SIZE = MAX_INPUT
HOSTILE = {
    "a table of empty rows": _lines(columns=200, row="|"),
    "a table without pipes": _lines(columns=100, row="x"),
    "a table, CR": _lines(columns=200, row="|", end="\r"),
    "a table, CRLF": _lines(columns=200, row="|", end="\r\n"),
    "a table in a quote": _lines(columns=100, row="|", before="> "),
    "a table in a list": _lines(columns=100, row="|", before="  ").replace("  ", "- ", 1),
    "many tables": "|a|\n|-|\n|1|\n\n" * (SIZE // 14),
    "one reference": "[a]: /" + "x" * (SIZE // 2) + "\n\n" + "[a] " * (SIZE // 8),
    "a reference of lines": "[a]: /x '" + "x\n" * (SIZE // 4) + "'\n\n" + "[a] " * (SIZE // 8),
    "brackets": "[" * SIZE,
    "pictures": "![" * (SIZE // 2),
    "closed brackets": "[" * (SIZE // 2) + "]" * (SIZE // 2),
    "links in links": "[a](" * (SIZE // 4),
    "links": "[a](//é)" * (SIZE // 8),
    "foreign names": "[a](https://éüö.x)" * (SIZE // 18),
    "addresses": "<a@b.c>" * (SIZE // 7),
    "stars": "*a **b ***c _d ~~e " * (SIZE // 19),
    "stars in stars": "*a " * (SIZE // 6) + " a*" * (SIZE // 6),
    "stars beside CJK": "文**“*\uff0c" * (SIZE // 7),
    "stars in stars beside CJK": "文*" * (SIZE // 2),
    "backticks": "".join("a" + "`" * length for length in range(1, int((2 * SIZE) ** 0.5) - 2)),
    "quotes": ">" * SIZE,
    "lazy quotes": ">" * 200 + "a\n" + "a\n" * ((SIZE - 202) // 2),
    "lists": "- " * (SIZE // 2),
    "lists that take turns": "* a\n- b\n" * (SIZE // 8),
    "empty items": "-\n" * (SIZE // 2),
    "deeper and deeper": "\n".join("  " * depth + "- a" for depth in range(200)),
    "open references": "[a\n" * (SIZE // 3),
    "entities": "&amp;" * (SIZE // 5),
    "escapes": "\\" * SIZE,
    "lines": "a\n" * (SIZE // 2),
    "headings": "# a\n" * (SIZE // 4),
    "underlined headings": "a\n=\n" * (SIZE // 4),
    "fences": "```\n~~~\n" * (SIZE // 8),
    "pipes and dashes": "|-" * (SIZE // 2),
    "dashes": "-" * (SIZE - 1) + "x",
    "less than": "<" * SIZE,
    "marks": "a" + "\u0301" * (SIZE - 1),
    "dollars": "$a$ " * (SIZE // 4),
    "open dollars": "$a " * (SIZE // 3),
    "displayed": "$$a" * (SIZE // 3),
    "open formulas": "\\(a" * (SIZE // 3),
    "open blocks of formulas": "$$\na\n" * (SIZE // 5),
    "long formulas": ("$" + "." * 900 + "$ ") * (SIZE // 903),
    "environments": "\\begin{a}" * (SIZE // 9),
    "environments of other names": "\\begin{a}\\end{b}" * (SIZE // 16),
    "environments in environments": ("\\begin{a}" * 50 + "\\end{a}" * 49) * (SIZE // 842),
    "lines of environments": "\\begin{a}\n" * (SIZE // 10),
    "short environments": "\\begin{math}a\\end{math} " * (SIZE // 23),
    "escapes after an open formula": "\\begin{a}" + "\\{" * (SIZE // 2 - 5),
    "braces": ("$" + "{" * 30 + "x" + "}" * 30 + "$ ") * (SIZE // 64),
    "macros": "\\(\\newcommand{\\a}{\\b\\b}\\newcommand{\\b}{\\a\\a}\\a\\) " * (SIZE // 60),
    "bare addresses": "http://a " * (SIZE // 9),
    "brackets after addresses": ("http://a" + ")" * 1990 + " ") * (SIZE // 1999),
    "code of a slow lexer": "```c\n" + "\n" * 19_000 + "```",
    "much code of a slow lexer": ("```csharp\n" + "a\n" * 1_900 + "```\n\n") * 10,
    "too long": "a" * (MAX_INPUT + 1),
    "as long as an answer may be": "|a" * 500_000,
}


@pytest.mark.timing
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_costs_much(text: str) -> None:
    # Garbage that other tests have left may be collected in the middle of one try.
    assert any(_spent(text) < 0.4 * slowness() for _ in range(3)), (
        "three times what the slowest takes on a quiet machine"
    )
    html = render(text)
    assert html is None or len(html) <= max_output(len(text)) <= MAX_OUTPUT


MULTIPLIED = {
    "a reference": "[a]: http://a/" + "b" * 2000 + "\n\n" + "[a]" * 115,
    "a reference's title": "[a]: /x '" + "b" * 2000 + "'\n\n" + "[a]" * 115,
    "addresses": "<a@b.c>" * 1500,
    "cells": "|a|" * 30 + "\n" + "|-|" * 30 + "\n" + "||\n" * 60,
    "foreign letters in addresses": "[a](//" + "\U0001f389" * 2000 + ")",
}


@pytest.mark.parametrize("text", MULTIPLIED.values(), ids=MULTIPLIED)
def test_html_is_not_many_times_as_long_as_its_text(text: str) -> None:
    """It is kept, and told at every reading: a text of 2 kB had 119 kB."""
    assert len(render(text) or "") <= 8 * len(text) + 16 * 1024


@pytest.mark.parametrize(
    "text",
    ["See [1].\n" * 100 + "\n[1]: https://one.example/a/page", "- <https://one.example/>\n" * 200, "a\n\n" * 2000],
)
def test_short_honest_answers_may_grow(text: str) -> None:
    assert render(text) is not None


def _spent(text: str) -> float:
    """Seconds of one core that it takes to render a text, or to see that it can't be."""
    before = time.thread_time()
    render(text)
    return time.thread_time() - before


@pytest.mark.parametrize("text", [">" * 17 + "deep", "- " * 9 + "deep", "> - " * 6 + "deep"])
def test_what_is_nested_too_deep_is_not_dropped(text: str) -> None:
    """The parser would leave it out without a word."""
    html = render(text)
    assert html is None or "deep" in html


def test_a_parser_that_fails_is_no_reason_to_fail(caplog: pytest.LogCaptureFixture) -> None:
    assert render("secret \ud800") is None
    assert "UnicodeEncodeError" in caplog.text
    assert "secret" not in caplog.text


@given(
    st.lists(
        st.sampled_from(["|a|b|", "|-|-|", "---|---", "|", "x", "", "> |", "> |-|-|", "- |a|b|", "  |-|-|", " :- "])
    )
)
def test_at_least_as_many_cells_are_counted_as_there_are(lines: list[str]) -> None:
    text = "\n".join(lines)
    html = render(text) or ""
    # A table's head is the line above its delimiter.
    assert len(re.findall("<td", html)) <= cells(text) <= MAX_CELLS
    assert cells(text) == cells("\r".join(lines)) == cells("\r\n".join(lines))


def test_lines_end_as_the_parser_has_it() -> None:
    assert LINE_END.split("a\r\nb\rc\nd\u2028e") == ["a", "b", "c", "d\u2028e"]
