"""The blocks of an answer that is being written are those of the answer as a whole."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.conversation.blocks import MAX_EVENT, Block, Blocks
from core.conversation.markdown import MAX_INPUT, max_output, render
from tests.support.slowness import slowness

LINES = [
    *("", "", "", "words", "more *words*", "- item", "1. item", "  - inner", "   inside", "    code", "```"),
    *("```python", "  ```", "~~~", "# Heading", "---", "===", "> quote", "|a|b|", "|-|-|", "\\[", "\\]", "$$"),
    *("x = `1`", "[a]", "[a]: /u", "'title'", "[b](/c)", "* * *", "10. ten", "\ttab", "- ```", "> ```"),
    *("**文字\uff1a**后续", "含**「重点", "」**内容", "*\uff0c"),
    *("a \\(x\\) b\r", "- [ ] task", "\\begin{align}", "a \\\\", "\\end{align}", "\\( open"),
]


def streamed(text: str, size: int = 7) -> list[Block]:
    blocks = Blocks()
    found: list[Block] = []
    for at in range(0, len(text), size):
        blocks.add(text[at : at + size])
        if looked_at := blocks.look():
            finished = blocks.finish(looked_at)
            blocks.take(finished)
            found += finished.blocks
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=14), st.integers(1, 9))
@example(["- item", "", "```", "words", "", "words", "```"], 3)
@example(["1. item", "", "    code", "", "words", ""], 3)
@example(["[a]", "", "[a]: /u", "", "[a]", ""], 3)
@example(["# Heading", "[a]: /u", "'title'", "", "[a]", ""], 3)
@example(["- ```", "words", "", "# Heading", "", "words", ""], 1)
def test_no_later_text_changes_a_finished_block(lines: list[str], size: int) -> None:
    text = "\n".join(lines)
    whole = render(text) or ""
    at = 0
    for begin, end, html in streamed(text, size):
        assert at <= begin < end <= len(text)
        at = end
        place = whole.find(html)
        assert place >= 0, (text[begin:end], html, whole)
        whole = whole[place + len(html) :]


def test_emphasis_beside_cjk_is_in_the_blocks_as_it_is_in_the_whole() -> None:
    text = "历经**10年发展\uff0c**年\n\n- 含**「重点」**内容\n\n# **文字\uff1a**后续\n\n**粗体。**\n源码\n\n"
    found = streamed(text, 1)
    assert "".join(block.html for block in found) == render(text)
    assert "**" not in "".join(block.html for block in found)


def test_an_answer_of_ordinary_blocks_is_told_whole_and_in_order() -> None:
    text = (
        "# Title\nA *paragraph*\nof two lines.\n\n- a\n- b\n\n  still b\n\n1. one\n2. two\n\n"
        "```python\nx = 1\n\ny = 2\n```\nThen \\(x\\).\n\n\\[\nx^2\n\\]\n\n|a|\n|-|\n|1|\n\n> quoted\n\nThe end.\n\n"
    )
    found = streamed(text)
    assert [found[0].begin, found[-1].end] == [0, len(text)]
    assert [block.begin for block in found[1:]] == [block.end for block in found[:-1]]
    assert "".join(block.html for block in found) == render(text)
    assert len(found) >= 6
    assert found[0].html == "<h1>Title</h1>\n", "it needs no blank line"


def test_what_a_later_definition_could_make_a_link_waits() -> None:
    found = streamed("One.\n\nAs [1] says.\n\nTwo.\n\n[1]: https://a.example\n\nSee [1] again.\n\n")
    assert [block.html.partition("<a")[0].strip() for block in found] == ["<p>One.</p>", "<p>Two.</p>", "", "<p>See"]
    assert "[1]" not in found[-1].html


def test_an_open_fence_is_not_finished_by_what_looks_like_its_end() -> None:
    assert streamed("```\na\n\nb\n~~~\n\n# c\n\n") == []
    assert streamed("- a\n  ```\n  b\n\n  c\n\n  # d\n\n") == []


HOSTILE = {
    "a list without end": "- a\n\n" * (MAX_INPUT // 5),
    "a fence without end": "```\n" + "a\n\n" * (MAX_INPUT // 3),
    "paragraphs": "a\n\n" * (MAX_INPUT // 3),
    "definitions": "".join(f"[{number}]: /{number}\n\n" for number in range(MAX_INPUT // 14)),
    "one reference": "[a]: /" + "x" * 2000 + "\n\n" + "[a] " * 20 + "\n\n" + ("[a] " * 20 + "\n\n") * 500,
    "as long as an answer may be": "word word\n\n" * 90_000,
}


@pytest.mark.timing
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_cost_of_an_answer_is_bounded(text: str) -> None:
    before = time.thread_time()
    found = streamed(text, 200)
    assert time.thread_time() - before < 3 * slowness(), "five times what the slowest takes on a quiet machine"
    assert sum(len(block.html) for block in found) <= max_output(len(text))
    assert max((len(block.html) for block in found), default=0) <= MAX_EVENT
