"""An answer's words on the page: finished blocks while it is written, code, formulas, zoom, print."""

import re
from functools import partial

import pytest
from playwright.sync_api import Locator, Page, expect

from core.conversation import markdown
from core.conversation.blocks import Blocks
from tests.e2e import test_page, test_page_thinking
from tests.e2e.stage import Stage
from tests.e2e.test_page import SHOWS, Visit, answers, box
from tests.e2e.test_page_in_trouble import shown, under
from tests.e2e.test_page_settings import expect_accessible
from tests.support.waiting import wait_for

visit = test_page.visit
stage = test_page_thinking.stage
page = test_page_thinking.page
modules = test_page.modules

TEXT = """# Sizes 👋🏽

The **first** paragraph, as in [the manual].

```python
def size(word: str) -> int:
    return len(word)  # a line that is much longer than any phone is wide, and than most windows are, so it scrolls
```

| Wide | and | wider | and | wider | and | wider | still |
|------|-----|-------|-----|-------|-----|-------|-------|
| 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |

- one
- two

$$ a^2 + b^2 = c^2 $$

And the end.

[the manual]: https://example.org/
"""
PART = "## Part {0}\n\nAbout [{0}], with *words* and `code`.\n\n- one\n- two\n\n"
LONG = "".join(PART.format(number) for number in range(40))


def tell(stage: Stage, text: str, *, upto: int | None = None) -> None:
    """More of the answer has come, and what is finished by then."""
    before = stage.messages[-1]["text"]
    stage.tell("delta", at=len(before), text=text[len(before) : upto])
    blocks = Blocks()
    blocks.add(text[:upto])
    for begin, end, html in blocks.finish(blocks.look()).blocks:
        if end > len(before):
            stage.tell("block", **{"from": begin}, upto=end, html=html)


def end(stage: Stage, text: str) -> None:
    tell(stage, text)
    stage.end(html=markdown.render(text))


def complete(page: Page, stage: Stage, text: str) -> Locator:
    """An answer that has come to its end."""
    stage.begin()
    end(stage, text)
    expect(answers(page).last).to_have_attribute("data-state", "complete")
    expect(shown(page).locator(".plain")).to_have_count(0)
    return shown(page)


def test_finished_blocks_are_shown_at_once_and_never_replaced(page: Page, stage: Stage) -> None:
    stage.begin()
    tell(stage, TEXT, upto=TEXT.index("- two"))
    body = shown(page)
    between, tail = body.locator(".plain").first, body.locator(".plain").last
    for _ in ("as it comes", "after a reload", "after a reset"):
        expect(body.get_by_role("heading")).to_have_text("Sizes 👋🏽")
        expect(body.locator(".code .nf")).to_have_text("size")
        expect(between).to_have_text("The **first** paragraph, as in [the manual].")
        expect(tail).to_have_text("- one")
        page.reload()
    stage.tell("reset", reason="trimmed")
    expect(tail).to_have_text("- one")
    body.locator(":scope > :not(.plain)").evaluate_all("found => { window.found = found; }")
    body.get_by_role("button", name="Wrap").click()
    end(stage, TEXT)
    expect(body.get_by_role("link")).to_have_text("the manual")
    assert page.evaluate("found.length > 2 && found.every((each) => each.isConnected)")
    expect(body.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(body.locator("math")).to_be_visible()
    assert body.evaluate(SHOWS, markdown.render(TEXT))


AS_IT_COMES = """async (moments) => {
  const { AnswerBody } = await import("/static/js/conversation/answer-body.js");
  const body = new AnswerBody(() => {});
  document.body.append(body.node);
  const shown = moments.map((words) => {
    body.show({ html: null, blocks: [], ...words });
    const first = body.node.firstElementChild;
    first.seen = (first.seen ?? 0) + 1;
    return [first.seen, ...[...body.node.children].map(({ textContent }) => textContent).filter(Boolean)];
  });
  body.node.remove();
  return shown;
}"""


def test_what_is_taken_back_or_goes_on_leaves_the_rest(modules: Page) -> None:
    one = {"from": 0, "upto": 6, "html": "<p>One</p>"}
    two = {"from": 6, "upto": 12, "html": "<p>Two</p>"}
    moments = [
        {"text": "*One*\n*Two*\nTh", "blocks": [one, two]},
        {"text": "*One*\n*T", "blocks": [one]},  # another model carries on
        {"text": "*One*\n*Two*\n", "blocks": [{**one}, two]},  # another worker, which tells all again
        {"text": "*One*\n*Two*\n", "html": "<p>One</p>\n<p>Two</p>"},
        {"text": "*One*\n*Two*\nMore", "html": None},  # of an answer that was too long
        {"text": "*One*\n*Two*\nMore", "blocks": [one, two]},
    ]
    assert modules.evaluate(AS_IT_COMES, moments) == [
        [1, "One", "Two", "Th"],
        [2, "One", "*T"],
        [3, "One", "Two"],
        [4, "One", "Two"],
        [5, "One", "Two", "More"],
        [6, "One", "Two", "More"],
    ]


SELECT = """node => {
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  walker.nextNode();
  getSelection().setBaseAndExtent(walker.currentNode, 0, walker.currentNode, 9);
}"""


def test_a_selection_lives_as_long_as_the_reader_wants(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("delta", at=0, text="First of *all*, then ")
    tail = shown(page).locator(".plain").last
    tail.evaluate(SELECT)
    end(stage, "First of *all*, then more.\n\nAnd the end.")
    expect(answers(page).last).to_have_attribute("data-state", "complete")
    expect(tail).to_contain_text("And the end.")
    assert page.evaluate("getSelection().toString()") == "First of "
    page.evaluate("getSelection().removeAllRanges()")
    expect(shown(page).locator("em")).to_have_text("all")

    stage.begin("More?")
    tell(stage, "A *finished* one.\n\nAnd")
    expect(shown(page).locator("em")).to_have_text("finished")
    shown(page).locator("p").first.evaluate(SELECT.replace("9", "2"))
    end(stage, "A *finished* one.\n\nAnd *another*.")
    expect(shown(page).locator("em")).to_have_count(2)
    assert page.evaluate("getSelection().toString()") == "A "


def top(node: Locator) -> float:
    return float(node.evaluate("node => node.getBoundingClientRect().top"))


def test_the_reading_place_holds_to_the_pixel(visit: Visit, stage: Stage) -> None:
    page = visit(viewport={"width": 360, "height": 420}).page
    stage.play(page)
    stage.begin()
    tell(stage, LONG)
    latest = page.get_by_role("button", name="Jump to latest")
    read = shown(page).get_by_role("heading", name="Part 20")
    expect(read).to_be_visible()
    read.evaluate("heading => heading.scrollIntoView()")
    expect(latest).to_be_visible()
    place = top(read)
    end(stage, LONG + "The end.\n")
    expect(shown(page).locator(".plain")).to_have_count(0)
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    assert abs(top(read) - place) < 0.5
    expect(latest).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_has_a_bar_and_everything_wide_is_in_reach_of_the_keyboard(
    visit: Visit, stage: Stage, scheme: str
) -> None:
    visitor = visit(viewport={"width": 400, "height": 700}, color_scheme=scheme)
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visitor.page
    stage.play(page)
    body = complete(page, stage, TEXT)
    bar, code = body.locator(".code-bar"), body.get_by_role("group", name="python code")
    expect(bar.locator("span")).to_have_text("python")
    for wide in (code, body.get_by_role("group", name="Table")):
        expect(wide).to_have_attribute("tabindex", "0")
        wide.focus()
        page.keyboard.press("ArrowRight")
        wait_for(partial(wide.evaluate, "node => node.scrollLeft > 0"))
    expect(body.get_by_role("group", name="Formula")).not_to_have_attribute("tabindex", "0")
    expect_accessible(page)
    bar.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == TEXT.split("```")[1].removeprefix("python\n")
    bar.get_by_role("button", name="Wrap").click()
    expect(code).not_to_have_attribute("tabindex", "0")
    assert code.evaluate("node => node.scrollWidth <= node.clientWidth")


@pytest.mark.parametrize(("width", "height"), [(640, 360), (320, 256)])
def test_at_200_and_400_percent_it_is_read_and_written_without_scrolling_sideways(
    visit: Visit, stage: Stage, width: int, height: int
) -> None:
    page = visit(viewport={"width": width, "height": height}).page
    stage.play(page)
    complete(page, stage, f"{TEXT}\n{'unbroken' * 60}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    scroller = page.locator("#scroller")
    assert scroller.evaluate("node => node.scrollWidth <= node.clientWidth && node.clientHeight > 120")
    for each in (box(page), page.get_by_role("button", name="Send"), page.get_by_role("button", name="Settings")):
        expect(each).to_be_in_viewport(ratio=1)


def test_print_has_all_of_it_and_nothing_to_press(page: Page, stage: Stage) -> None:
    body = complete(page, stage, f"{LONG}\n{TEXT}")
    page.emulate_media(media="print")
    expect(box(page)).to_be_hidden()
    expect(body.get_by_role("button", name="Wrap")).to_be_hidden()
    expect(body.get_by_text("python", exact=True)).to_be_visible()
    assert body.locator("pre").evaluate("node => node.scrollWidth <= node.clientWidth")
    page.emulate_media(media=None)
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf())) > 4


@pytest.mark.parametrize("theme", [None, "dark"])
def test_what_is_printed_is_dark_on_white(visit: Visit, stage: Stage, theme: str | None) -> None:
    page = visit(color_scheme="light" if theme else "dark").page
    stage.play(page)
    body = complete(page, stage, TEXT)
    if theme:
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    page.emulate_media(media="print")
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(body.locator(".code .k").first).to_have_css("color", "rgb(11, 94, 138)")
    expect(under(page)).to_have_css("color", "rgb(68, 68, 68)")


def test_where_colours_are_forced_code_keeps_its_edge(visit: Visit, stage: Stage) -> None:
    page = visit(forced_colors="active").page
    stage.play(page)
    body = complete(page, stage, TEXT)
    word, code = body.locator(".code .k").first, body.locator(".code")
    text = page.evaluate("getComputedStyle(document.body).color")
    expect(word).to_have_css("color", text)
    expect(code).to_have_css("border-top-width", "1px")
    expect(code).not_to_have_css("border-top-color", page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_without_javascript_the_page_says_what_it_needs(visit: Visit) -> None:
    visitor = visit()
    document = visitor.context.request.get(visitor.base_url).text()
    # Browsers that are told to run no scripts by a test leave out <noscript> all the same.
    bare = re.sub(r"<(/?)noscript>", r"<\1div>", re.sub(r"<script.*?</script>", "", document))
    visitor.page.route(visitor.base_url + "/", lambda route: route.fulfill(body=bare, content_type="text/html"))
    visitor.page.reload()
    expect(visitor.page.get_by_text("The chat page needs JavaScript. The API does not.")).to_be_in_viewport(ratio=1)
    page = visit(java_script_enabled=False).page
    expect(page.get_by_role("heading", name="Switchboard")).to_be_visible()
    for each in (box(page), page.get_by_role("combobox"), page.get_by_role("button")):
        expect(each).to_have_count(0)


def test_before_its_scripts_have_come_the_page_sends_nothing(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.route("**/js/page*.js", lambda route: route.abort())
    page.reload()
    box(page).fill("My private words")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.locator("#composer").evaluate("form => form.requestSubmit()")
    page.evaluate("new Promise(requestAnimationFrame)")
    assert page.url == visitor.base_url + "/"
    visitor.complaints.clear()
