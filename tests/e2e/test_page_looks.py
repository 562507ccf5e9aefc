"""Where words stand and what is painted over what: in a real browser, over a played server."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e import test_page, test_page_thinking
from tests.e2e.stage import Stage
from tests.e2e.test_page import Visit, answers, box, fails, questions
from tests.e2e.test_page_in_trouble import shown
from tests.e2e.test_page_thinking import LONGEST, fold, thoughts
from tests.support.waiting import wait_for

visit = test_page.visit
stage = test_page_thinking.stage
page = test_page_thinking.page

ARABIC = "السماء زرقاء، نعم."
ENGLISH = "The sky is."
BOTH = f"{ARABIC}\n{ENGLISH}\n"
LIST = f"<ul><li>{ARABIC}</li><li>{ENGLISH}</li></ul>"
TABLE = f"<table><tr><td>{ARABIC}</td><td>1</td></tr></table>"
HTML = f"<p>{ENGLISH}</p>{LIST}{TABLE}<p>{ENGLISH}</p><pre><code>x = 1 # {ARABIC}</code></pre>"
AT = """body => {
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  const sides = [];
  const middle = (body.getBoundingClientRect().left + body.getBoundingClientRect().right) / 2;
  while (walker.nextNode()) {
    if (walker.currentNode.parentElement.closest(".code-bar")) continue;
    let from = 0;
    for (const line of walker.currentNode.data.split("\\n")) {
      const range = document.createRange();
      range.setStart(walker.currentNode, from);
      range.setEnd(walker.currentNode, from + line.length);
      const { left, right, width } = range.getBoundingClientRect();
      if (line.trim() && width) sides.push((left + right) / 2 < middle ? "left" : "right");
      from += line.length + 1;
    }
  }
  return sides;
}"""
"""On which side each line of some words stands."""


def sides(words: Locator) -> list[str]:
    return list(words.evaluate(AT))


def test_each_paragraph_runs_in_its_own_direction(page: Page, stage: Stage) -> None:
    stage.begin(f"{BOTH}{'a long line ' * 20}")
    stage.tell("thinking", at=0, text=BOTH)
    stage.tell("delta", at=0, text=BOTH)
    expect(shown(page)).to_contain_text(ENGLISH)
    fold(page).click()
    assert sides(questions(page).locator(".body"))[:2] == ["right", "left"]
    assert sides(thoughts(page)) == ["right", "left"]
    assert sides(shown(page)) == ["right", "left"]
    stage.end(html=HTML, thinking_seconds=1)
    expect(shown(page).locator("li")).to_have_count(2)
    # A list stands on one side, with its marks, and so does a table, with its first column; code is code.
    assert sides(shown(page)) == ["left", "right", "right", "right", "right", "left", "left"]
    for each in ("ul", "table"):
        expect(shown(page).locator(each)).to_have_css("direction", "rtl")


def test_a_list_in_a_list_stands_on_its_own_side(page: Page, stage: Stage) -> None:
    stage.begin()
    inner = [f"<ul><li>{words}</li></ul>" for words in (ARABIC, ENGLISH)]
    stage.tell("delta", at=0, text=ENGLISH)
    stage.end(html=f"<ul><li>{ENGLISH}{inner[0]}</li></ul><ol><li>{ARABIC}{inner[1]}</li></ol>")
    for each, direction in (
        ("> ul", "ltr"),
        ("> ul > li > ul", "rtl"),
        ("> ol", "rtl"),
        ("> ol > li > ul", "ltr"),
    ):
        expect(shown(page).locator(each)).to_have_css("direction", direction)


def waiting(page: Page) -> Locator:
    return page.get_by_role("list", name="Waiting questions").get_by_role("listitem")


def test_a_question_that_its_owners_limits_hold_back_waits_for_no_answer(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("delta", at=0, text="The end")
    stage.waiting = [{"generation_id": f"{at}", "message": f"And {at}?", "position": at} for at in range(2)]
    stage.tell("waiting")
    rows = waiting(page)
    expect(rows.first).to_contain_text("Waits for the end of this answer")
    expect(rows.last).to_contain_text("Waits for its turn")
    stage.end(html="<p>The end</p>")
    expect(rows.first).to_contain_text("Waits for its turn")


def test_a_question_whose_turn_came_while_the_page_caught_up_waits_no_more(page: Page, stage: Stage) -> None:
    stage.begin("First?")
    stage.tell("delta", at=0, text="The end")
    stage.waiting = [{"generation_id": f"answer-{at}", "message": f"And {at}?", "position": at} for at in (2, 4)]
    stage.tell("waiting")
    expect(waiting(page)).to_have_count(2)
    with page.expect_response("**/session/messages"):
        stage.waiting = stage.waiting[1:]
        stage.end(html="<p>The end</p>")
        assert stage.begin("And 2?") == "answer-2"  # what tells the page is behind the messages that it fetches
    expect(questions(page)).to_have_text(["First?", "And 2?"])
    expect(waiting(page).locator(".body")).to_have_text(["And 4?"])
    stage.end(html="<p>Yes.</p>")
    expect(answers(page).last).to_have_attribute("data-state", "complete")
    expect(waiting(page).locator(".body")).to_have_text(["And 4?"])


def test_the_list_of_waiting_questions_is_asked_for_until_it_is_told(visit: Visit, stage: Stage) -> None:
    visitor = visit()
    page = visitor.page
    stage.play(page)
    stage.begin()
    stage.tell("delta", at=0, text="The end")
    expect(shown(page)).to_have_text("The end")
    away = fails(503, {"type": "/problems/store-unavailable"})
    page.route("**/session/queue", away)
    stage.waiting = [{"generation_id": "h", "message": "And then?", "position": 0}]
    with page.expect_response("**/session/queue"):
        stage.tell("waiting")
    page.unroute("**/session/queue", away)
    expect(waiting(page)).to_contain_text("And then?")
    visitor.complaints.clear()  # the browser itself notes the 503


def test_a_new_conversation_begins_at_its_beginning(visit: Visit, stage: Stage) -> None:
    visitor = visit(viewport={"width": 390, "height": 500})
    page = visitor.page
    stage.play(page)
    stage.begin()
    stage.tell("delta", at=0, text="A line of it.\n\n" * 80)
    stage.end()
    expect(answers(page)).to_have_attribute("data-state", "complete")
    latest = page.get_by_role("button", name="Jump to latest")
    for reads_above in (True, False):
        if reads_above:
            page.locator("#scroller").evaluate("scroller => { scroller.scrollTop = 0; }")
            expect(latest).to_be_visible()
        else:
            page.reload()
            expect(answers(page)).to_have_count(1)
        page.get_by_role("button", name="New conversation").click()
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(page.get_by_role("heading", name="Number, please.")).to_be_visible()
        expect(latest).to_be_hidden()
        assert page.locator("#scroller").evaluate("scroller => scroller.scrollTop") == 0
        page.context.add_cookies([{"name": "switchboard", "value": "s.secret", "url": page.url}])
    visitor.complaints.clear()  # the server itself knows no such session


def test_on_a_phone_the_picker_is_no_wider_than_its_label(visit: Visit, stage: Stage) -> None:
    page = visit(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True).page
    stage.models[1]["label"] = "One with a name that is too long for any header of any phone"
    stage.play(page)
    picker = page.get_by_role("combobox", name="Model")
    expect(picker).to_have_value("deep")
    assert picker.evaluate("select => select.offsetWidth") < 120
    stage.switch("plain")
    expect(picker).to_have_value("plain")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_is_written_runs_in_its_direction(page: Page) -> None:
    for words, direction in ((ARABIC, "rtl"), (ENGLISH, "ltr")):
        box(page).fill(words)
        assert box(page).evaluate("field => getComputedStyle(field).direction") == direction


ZALGO = "Z" + "̵̖̹̑̍" * 100


def test_combining_marks_stay_within_their_own_message(page: Page, stage: Stage) -> None:
    stage.begin(ZALGO)
    stage.tell("thinking", at=0, text=ZALGO)
    stage.tell("delta", at=0, text=ZALGO)
    fold(page).click()
    for words in (questions(page).locator(".body"), thoughts(page), shown(page)):
        expect(words).to_have_css("overflow", "clip")


def test_clipping_leaves_focus_rings_and_wide_code_alone(page: Page, stage: Stage) -> None:
    stage.begin()
    stage.tell("delta", at=0, text="x")
    stage.end(html=f'<p><a href="#x">A link</a></p><pre><code>{"wide " * 200}</code></pre>')
    link, code = shown(page).locator("a"), shown(page).locator("pre")
    expect(link).to_be_visible()
    edge = shown(page).bounding_box()
    for each in (link, code):
        ring = each.bounding_box()
        assert edge is not None
        assert ring is not None
        assert ring["x"] - edge["x"] >= 5, "its ring is cut off"
        assert ring["y"] - edge["y"] >= 5
    assert code.evaluate("code => { code.scrollLeft = 50; return code.scrollLeft; }") == 50
    expect(code).to_have_css("overflow-x", "auto")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [360, 1000])
def test_thoughts_scroll_behind_the_line_that_folds_them(visit: Visit, stage: Stage, width: int) -> None:
    page = visit(viewport={"width": width, "height": 500}).page
    stage.play(page)
    stage.begin()
    stage.tell("thinking", at=0, text="A thought as long as a line of it can be on the widest of screens.\n" * 80)
    fold(page).click()
    expect(thoughts(page)).to_be_visible()
    page.mouse.move(width / 2, 250)
    page.mouse.wheel(0, 700)
    wait_for(lambda: page.evaluate("document.querySelector('#scroller').scrollTop") > 300)
    whose = """summary => {
      const { top, bottom, left } = summary.getBoundingClientRect();
      const { right } = summary.parentElement.getBoundingClientRect();
      const cover = getComputedStyle(summary, "::after");
      const [width, ring] = [parseFloat(cover.width), parseFloat(getComputedStyle(summary).outlineOffset)];
      return {
        top: top - document.querySelector("#scroller").getBoundingClientRect().top,
        covered: left + width >= right && parseFloat(cover.height) === bottom - top && cover.backgroundColor,
        ring,
      };
    }"""
    assert fold(page).evaluate(whose) == {"top": 0, "covered": "rgb(243, 245, 242)", "ring": -3}
    right = page.evaluate("document.querySelector('#log').getBoundingClientRect().right")
    page.mouse.click(right - 5, 80)
    expect(thoughts(page)).to_be_visible()


@pytest.mark.parametrize(("length", "cut"), [(LONGEST - 1, False), (LONGEST, True)])
@pytest.mark.parametrize("letter", ["a", "🎉"])
def test_thinking_that_is_longer_than_what_is_kept_says_so(
    page: Page, stage: Stage, letter: str, length: int, *, cut: bool
) -> None:
    stage.begin()
    stage.tell("thinking", at=0, text=(letter * 99 + "\n") * (length // 100) + letter * (length % 100))
    stage.tell("delta", at=0, text="So.")
    expect(shown(page)).to_have_text("So.")
    fold(page).click()
    rest = answers(page).last.get_by_text("The rest is not shown.")
    expect(rest).to_be_visible(visible=cut)
    stage.tell("resumed", attempt=2, at=3, thinking=10)
    expect(rest).to_be_hidden()
