"""What the chat page makes of queues, failing models, limits, broken lines and sleep: in a real browser, against the
real system, over a model server that misbehaves the way a model's name asks for."""

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from threading import Event as Flag
from typing import Any
from uuid import UUID

import httpx2
import psutil
import pytest
from playwright.sync_api import JSHandle, Locator, Page, expect
from uuid_utils.compat import uuid7

from core.clock import rfc3339
from core.conversation.keys import keys
from core.conversation.message import PREVIOUS, Message
from core.stores.redis import Redis
from tests.e2e import test_page
from tests.e2e.system import System, running
from tests.e2e.test_accounts_page import register
from tests.e2e.test_page import Visit, Visitor, answers, ask, box, expect_answered, expect_same_as_server, questions
from tests.support.nginx import MISSING, Nginx, find_nginx
from tests.support.provider import STORY, ProviderServer
from tests.support.web_process import free_port

visit = test_page.visit

LEASE = "2s"
BUDGET = 3000
"""Tokens of an anonymous session in a day."""
MODELS = {
    # name: label, manner (tests/support/provider.py), more of the table
    "good": ("Good", "good", ""),
    "patient": ("Good", "paused", ""),
    "single": ("Single", "paused", "max_concurrency = 1"),
    "silent": ("Silent", "silent", ""),
    "story": ("Story", "story", "prefill = true"),
    "greedy": ("Greedy", "good", f"max_tokens = {BUDGET}"),
    "overloaded": ("Broken", "rate-limited", 'fallback = ["patient"]'),
    "midway": ("Broken", "falls-back-midway", 'fallback = ["patient"]'),
    "slow": ("Broken", "silent", "first_token_timeout = 0.4"),
    "unauthorized": ("Broken", "unauthorized", ""),
    "rate-limited": ("Broken", "rate-limited", ""),
    "rejected": ("Broken", "rejected", ""),
    "broken": ("Broken", "broken", ""),
    "cut": ("Broken", "cut", ""),
    "away": ("Broken", "nobody there", ""),
}
"""A model that has failed rests, so each is there for one test alone, and those that work for all of them."""
TABLE = """
[models.{name}]
label = "{label}"
provider = "openai"
base_url = "{url}"
model = "{manner}"
context_tokens = 8000
{more}
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    """A model server of this module's own: one flag holds all its paused answers."""
    server = ProviderServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def system(provider: ProviderServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for these tests, with limits that a visitor meets. What is broken in it, it mends by itself."""
    directory = tmp_path_factory.mktemp("trouble")
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    tables = [
        TABLE.format(
            name=name,
            label=label,
            manner=manner,
            url=nowhere if name == "away" else provider.url,
            more=more if "max_tokens" in more else f"{more}\nmax_tokens = 100",
        )
        for name, (label, manner, more) in MODELS.items()
    ]
    models = directory / "models.toml"
    models.write_text("\n".join(['default = "good"', *tables]))
    options = {
        "SWITCHBOARD_MODELS": str(models),
        "SWITCHBOARD_LEASE": LEASE,
        "SWITCHBOARD_LIMIT_MESSAGES_ANONYMOUS": "off",
        "SWITCHBOARD_LIMIT_MESSAGES_USER": "1/m",
        "SWITCHBOARD_LIMIT_TOKENS_ANONYMOUS": f"{BUDGET}/d",
    }
    with running(directory / "state", **options) as started:
        yield started


@pytest.fixture
def go_on(provider: ProviderServer) -> Iterator[Flag]:
    """Holds the paused answers until it is set."""
    provider.go_on.clear()
    yield provider.go_on
    provider.go_on.set()


class Caller:
    """Somebody else, with an anonymous session and no page."""

    def __init__(self, system: System, model: str) -> None:
        self._client = httpx2.Client(base_url=system.base_url, trust_env=False, timeout=10)
        self._post("/chat", message="Hello?", model=model)

    def is_answered(self) -> bool:
        """Whether a worker has taken the question, and not only the queue."""
        active = self._client.get("/session/current").json()["active_generation"]
        return active is not None and active["state"] == "running"

    def hang_up(self) -> None:
        """Want no answer any more."""
        self._post("/chat/stop")

    def _post(self, path: str, **body: str) -> None:
        response = self._client.post(path, json=body)
        assert response.is_success, response.text


def choose(page: Page, model: str) -> None:
    """Switch the session's model, or pick the first one."""
    expect(page.get_by_role("combobox", name="Model")).to_be_enabled()
    if questions(page).count() == 0:
        page.get_by_role("combobox", name="Model").select_option(model)
        return
    with page.expect_response("**/session/model"):
        page.get_by_role("combobox", name="Model").select_option(model)


def under(page: Page) -> Locator:
    """What stands under the last answer."""
    return answers(page).last.locator(".answer-status")


def shown(page: Page) -> Locator:
    """The last answer's words."""
    return answers(page).last.locator(".body")


def everything_shown(page: Page) -> JSHandle:
    """From now on, the answers' texts and what stood under them, as they changed."""
    return page.evaluate_handle(
        """() => {
          const seen = { texts: [], under: [] };
          const note = (list, text) => text !== undefined && text !== list.at(-1) && list.push(text);
          new MutationObserver(() => {
            const last = [...document.querySelectorAll("[data-role=assistant]")].at(-1);
            const written = last?.dataset.state === "streaming"; // after that its numbers are those of a list
            note(seen.texts, written ? last.querySelector(".body").textContent : undefined);
            note(seen.under, last?.querySelector(".answer-status")?.textContent);
          }).observe(document.querySelector("#log"), { subtree: true, childList: true, characterData: true });
          return seen;
        }"""
    )


def expect_story(visitor: Visitor, seen: JSHandle) -> None:
    """The story came, whole, and never took back or repeated a character; and is kept so."""
    texts = seen.evaluate("seen => seen.texts")
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert STORY.startswith(texts[-1])
    expect_same_as_server(visitor, visitor.page)
    assert visitor.get("/session/messages")["messages"][-1]["text"] == STORY


def expect_no_answer_under_way(system: System, visitor: Visitor) -> None:
    system.until(lambda: visitor.get("/session/current")["active_generation"] is None, 30)


# ---- The queue -----------------------------------------------------------------------------------------------


def test_a_place_in_the_queue_is_told_in_words_until_it_is_ones_turn(
    visit: Visit, system: System, go_on: Flag
) -> None:
    callers = [Caller(system, "single")]
    system.until(callers[0].is_answered)
    callers += [Caller(system, "single") for _ in range(3)]
    page = visit().page
    choose(page, "single")
    ask(page, "Whose turn is it?")
    expect(under(page)).to_have_text("Waiting: 3 answers are before yours")
    expect(page.get_by_role("status")).to_have_text("Waiting: 3 answers are before yours")
    callers[0].hang_up()
    expect(under(page)).to_have_text("Waiting: 2 answers are before yours")
    page.reload()
    expect(under(page)).to_have_text("Waiting: 2 answers are before yours")
    callers[1].hang_up()
    expect(under(page)).to_have_text("Waiting: 1 answer is before yours")
    callers[2].hang_up()
    expect(under(page)).to_have_text("Next in line")
    callers[3].hang_up()
    expect(under(page)).to_have_text("Single is answering")
    go_on.set()
    expect(expect_answered(page)).to_contain_text("for it")


def test_a_wait_of_a_moment_is_not_shown(visit: Visit, system: System, go_on: Flag) -> None:
    caller = Caller(system, "single")
    system.until(caller.is_answered)
    page = visit().page
    page.clock.install()
    page.reload()
    ask(page, "Hello?")
    expect_answered(page)
    choose(page, "single")
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    ask(page, "Is it my turn?")
    expect(under(page)).to_have_text("Connecting to Single")
    page.clock.run_for(700)
    expect(under(page)).to_have_text("Connecting to Single")
    page.clock.run_for(200)
    expect(under(page)).to_have_text("Next in line")
    page.get_by_role("button", name="Stop the answer").click()
    expect(under(page)).to_have_text("Stopped · Single")
    caller.hang_up()


ANNOUNCE = """async () => {
  const { Announcer } = await import("/static/js/ui/announcer.js");
  window.heard = [];
  const node = document.createElement("p");
  new MutationObserver(() => window.heard.push(node.textContent)).observe(node, { childList: true });
  window.announcer = new Announcer(node);
}"""


def test_a_queue_that_moves_fast_does_not_flood_a_screen_reader(visit: Visit) -> None:
    page = visit().page
    page.clock.install()
    page.reload()
    page.evaluate(ANNOUNCE)
    for words in ("3", "2", "1"):
        page.evaluate("words => announcer.update(words)", words)
    assert page.evaluate("heard") == ["3"]
    page.clock.run_for(6_000)
    assert page.evaluate("heard") == ["3", "1"]
    page.evaluate("() => { announcer.update('0'); announcer.announce('Answering') }")
    page.clock.run_for(6_000)
    assert page.evaluate("heard") == ["3", "1", "Answering"]


# ---- Another model than the chosen one -----------------------------------------------------------------------


def test_another_model_that_answers_is_named_with_the_reason(visit: Visit, go_on: Flag) -> None:
    page = visit().page
    choose(page, "overloaded")
    ask(page, "Who is there?")
    for _ in range(2):
        expect(shown(page)).to_contain_text("Wait.")
        expect(under(page)).to_have_text("Good is answering, because Broken was overloaded")
        page.reload()
    expect(under(page)).to_have_text("Good is answering, because Broken was overloaded")
    go_on.set()
    expect_answered(page)
    for _ in range(2):
        expect(under(page)).to_have_text("Answered by Good, because Broken was overloaded")
        page.reload()

    ask(page, "And now?")  # it rests, and is not even asked
    expect_answered(page, 2)
    for _ in range(2):
        expect(under(page)).to_contain_text("Answered by Good, because Broken was")
        page.reload()


def test_another_model_that_carries_on_in_mid_answer_is_named_too(visit: Visit, go_on: Flag) -> None:
    page = visit().page
    choose(page, "midway")
    ask(page, "Who is there?")
    for _ in range(2):
        expect(shown(page)).to_contain_text("Wait.")
        expect(under(page)).to_have_text("Good carries on, because Broken had an error")
        page.reload()
    expect(under(page)).to_have_text("Good carries on, because Broken had an error")
    go_on.set()
    expect_answered(page)
    for _ in range(2):
        expect(under(page)).to_have_text("Finished by Good, because Broken had an error")
        page.reload()


# ---- What went wrong -----------------------------------------------------------------------------------------

LATER = "Try again in a moment, or choose another model."
FAILURES = {
    "away": f"Broken could not be reached. {LATER}",
    "slow": f"Broken took too long. {LATER}",
    "unauthorized": "Broken refused this service’s key. Choose another model, and tell the operator.",  # noqa: RUF001
    "rate-limited": f"Broken was overloaded. {LATER}",
    "broken": f"Broken had an error. {LATER}",
    "rejected": "Broken did not accept this request. Choose another model.",
    "cut": "Incomplete. Broken broke off. Try again.",
}


def test_what_went_wrong_is_told_in_words_and_can_be_tried_again(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    for count, (model, words) in enumerate(FAILURES.items(), start=1):
        choose(page, model)
        ask(page, "Are you there?")
        expect(answers(page)).to_have_count(count)
        expect(answers(page).last).to_have_attribute("data-state", "failed")
        expect(under(page)).to_have_text(words)
        expect(page.get_by_role("status")).to_have_text(f"The answer failed. {words}")
        expect(page.get_by_role("button", name="Try again")).to_have_count(1)
    expect(shown(page)).to_have_text("Half an ")
    page.reload()
    expect(under(page)).to_have_text(FAILURES["cut"])
    expect(shown(page)).to_have_text("Half an")

    choose(page, "good")
    page.get_by_role("button", name="Try again").click()
    expect_answered(page, len(FAILURES))
    expect(questions(page)).to_have_text(["Are you there?"] * len(FAILURES))
    expect(answers(page).last).to_contain_text("2 of 2")
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    expect(box(page)).to_be_focused()


RARE_ENDS = [
    ({"type": "/problems/generation-lost"}, "Half", "Incomplete. The answer was interrupted."),
    ({"type": "/problems/generation-lost"}, "", "No answer could be begun in time."),
    ({"type": "/problems/unknown-model"}, "", "The chosen model is no longer on offer. Choose another one."),
    ({"type": "/problems/internal"}, "Half", "Incomplete. The server made a mistake."),
    ({"type": "/problems/provider-failed", "reason": "new", "model": "m"}, "", "M was not available."),
    (None, "", "This question was not answered."),
    (None, "Half", "Incomplete. The rest of this answer never came."),
]


def test_ends_that_are_rare_have_words_too(visit: Visit) -> None:
    items = [
        {"state": "failed", "text": text, "eventDetails": {"problem": problem}} for problem, text, _ in RARE_ENDS
    ]
    words = visit().page.evaluate(
        """async (items) => {
          const { statusLine } = await import("/static/js/conversation/answer-status.js");
          return items.map((item) => statusLine(item, (model) => model.toUpperCase()));
        }""",
        items,
    )
    assert words == [words for _, _, words in RARE_ENDS]


def test_a_limit_says_how_long_to_wait_and_counts_down(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.clock.install()
    page.reload()
    register(page)
    ask(page, "First?")
    expect_answered(page)
    ask(page, "Second?")
    notice = page.get_by_role("alert")
    expect(notice).to_have_text(
        re.compile(r"You have sent many messages in a short time\. .*Try again in [45]\d s\.")
    )
    expect(box(page)).to_have_value("Second?")
    page.clock.run_for(31_000)
    expect(notice).to_have_text(re.compile(r"Try again in [12]\d s\.$"))
    page.clock.run_for(30_000)
    expect(notice).to_have_text("You have sent many messages in a short time. You can try again now.")
    expect(page.get_by_role("status")).to_have_text("You can try again now")
    visitor.complaints.clear()  # the browser itself notes the 429


def test_a_budget_of_tokens_that_is_used_up_has_words_of_its_own(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    choose(page, "greedy")
    ask(page, "First?")
    expect_answered(page)
    ask(page, "Second?")
    expect(page.get_by_role("alert")).to_contain_text("You have used up your budget of tokens for now.")
    expect(page.get_by_role("alert")).to_contain_text(re.compile(r"Try again in \d+ min\."))
    expect(box(page)).to_have_value("Second?")
    visitor.complaints.clear()


def test_a_question_that_another_tab_forestalled_waits_for_its_turn(visit: Visit, go_on: Flag) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "First?")
    expect_answered(page)
    choose(page, "patient")
    for news in ("**/chat/sse*", "**/session/messages"):  # of what the other tab does nothing comes through
        page.route(news, lambda route: route.abort())
    page.evaluate("dispatchEvent(new Event('online'))")
    asked = visitor.context.request.post(f"{visitor.base_url}/chat", data={"message": "From elsewhere"})
    assert asked.ok
    ask(page, "Second?")
    expect(page.get_by_role("list", name="Waiting questions")).to_contain_text("Second?")
    page.unroute_all()
    expect(questions(page).last).to_have_text("From elsewhere")
    go_on.set()
    expect_answered(page, 3)
    visitor.complaints.clear()


def test_a_store_that_is_away_costs_nothing_that_was_typed(visit: Visit, system: System) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "First?")
    expect_answered(page)
    system.suspend("valkey-server")
    ask(page, "Second?")
    expect(page.get_by_role("alert")).to_contain_text("The service is busy or restarting.")
    expect(box(page)).to_have_value("Second?")
    resume_store(system)
    expect(page.get_by_role("alert")).to_be_hidden()  # by itself: its reason has gone
    expect(box(page)).to_have_value("Second?")
    box(page).press("Enter")
    expect_answered(page, 2)
    assert [message["text"] for message in visitor.get("/session/messages")["messages"][::2]] == ["First?", "Second?"]
    visitor.complaints.clear()


def resume_store(system: System) -> None:
    valkey = system.child("valkey-server")
    assert valkey is not None
    valkey.resume()
    system.until(system.ready)


def test_a_conversation_that_cant_be_had_yet_is_not_taken_for_a_new_one(visit: Visit, system: System) -> None:
    visitor = visit()
    page = visitor.page
    for signed_in in (False, True):
        if signed_in:
            register(page)
            page.get_by_role("button", name="Keep", exact=True).click()
            expect(page.get_by_role("complementary").get_by_role("listitem")).to_have_count(1)
        else:
            ask(page, "First?")
            expect_answered(page)
        system.suspend("valkey-server")
        page.reload()
        away = page.get_by_role("heading", name="This conversation can’t be shown right now.")  # noqa: RUF001
        expect(away).to_be_visible()
        expect(page.get_by_role("status")).to_have_text("This conversation can’t be shown right now.")  # noqa: RUF001
        expect(page.get_by_role("heading", name="Number, please.")).to_be_hidden()
        expect(page.locator(".example").first).to_be_hidden()
        resume_store(system)
        expect_answered(page)
        expect(questions(page)).to_have_text(["First?"])
        expect(away).to_be_hidden()
    visitor.complaints.clear()


# ---- Stopping, and going on ----------------------------------------------------------------------------------


def test_an_answer_stopped_in_one_tab_before_its_first_word_is_stopped_in_all(visit: Visit) -> None:
    visitor = visit()
    first = visitor.page
    choose(first, "silent")
    ask(first, "Hm?")
    expect(under(first)).to_have_text("Connecting to Silent")
    second = visitor.tab()
    expect(under(second)).to_have_text("Connecting to Silent")
    second.get_by_role("button", name="Stop the answer").click()
    for tab in (first, second):
        expect(under(tab)).to_have_text("Stopped · Silent")
        expect(shown(tab)).to_be_hidden()
        expect(tab.get_by_role("button", name="Send")).to_be_visible()
    expect(box(second)).to_be_focused()


def test_an_answer_stopped_in_one_tab_reads_the_same_in_all(visit: Visit, go_on: Flag) -> None:
    visitor = visit()
    first = visitor.page
    choose(first, "patient")
    ask(first, "Well?")
    expect(shown(first)).to_contain_text("Wait.")  # so there is a session for another tab to show
    second = visitor.tab()
    expect(shown(second)).to_contain_text("Wait.")
    first.get_by_role("button", name="Stop the answer").click()
    for tab in (first, second):
        expect(under(tab)).to_have_text("Stopped · Good")
    told = visitor.get("/session/messages")["messages"][-1]
    assert told["text"].startswith("Wait.")
    for tab in (first, second):
        expect(shown(tab)).to_have_text(told["text"])


def test_another_worker_carries_on_without_a_seam(visit: Visit, system: System) -> None:
    visitor = visit()
    page = visitor.page
    seen = everything_shown(page)
    choose(page, "story")
    ask(page, "Tell me the story.")
    expect(shown(page)).to_contain_text("3. Grüße")
    worker = system.child("--queues chat")
    assert worker is not None
    worker.send_signal(signal.SIGKILL)
    expect_answered(page)
    expect_story(visitor, seen)
    assert set(seen.evaluate("seen => seen.under")) <= {"Connecting to Story", "Story is answering", "Story"}


# ---- Sleep, and broken lines ---------------------------------------------------------------------------------


def events_of(system: System, session_id: str) -> tuple[Redis, str]:
    """Where a session's events are kept."""
    running_system = json.loads((system.state_dir / "runtime.json").read_text())
    return Redis.from_url(running_system["configured_redis_url"]), keys(UUID(session_id)).log


def freeze(page: Page, state: str) -> None:
    page.context.new_cdp_session(page).send("Page.setWebLifecycleState", {"state": state})


def web_workers(system: System) -> list[psutil.Process]:
    """The processes that hold the streams."""
    web = system.child("gunicorn")
    assert web is not None
    return list(web.children())


def replace_web(system: System) -> None:
    web = system.child("gunicorn")
    assert web is not None
    web.send_signal(signal.SIGKILL)
    web.wait(15)
    system.until(system.ready)


def test_a_tab_that_slept_until_the_events_were_gone_shows_the_whole_answer(
    visit: Visit, system: System, go_on: Flag
) -> None:
    visitor = visit()
    page = visitor.page
    choose(page, "patient")
    ask(page, "Sleep well?")
    expect(shown(page)).to_contain_text("Wait.")
    session_id = visitor.get("/session/current")["session_id"]
    freeze(page, "frozen")
    replace_web(system)
    go_on.set()
    expect_no_answer_under_way(system, visitor)
    redis, log = events_of(system, session_id)
    redis.xtrim(log, maxlen=1, approximate=False)
    freeze(page, "active")
    expect_answered(page)
    expect_same_as_server(visitor, page)
    visitor.complaints.clear()


def test_a_line_that_died_in_silence_is_replaced(visit: Visit, system: System, go_on: Flag) -> None:
    visitor = visit()
    page = visitor.page
    page.clock.install()
    page.reload()
    choose(page, "patient")
    ask(page, "Hello?")
    expect(shown(page)).to_contain_text("Wait.")
    silenced = web_workers(system)
    for process in silenced:
        process.suspend()
    with page.expect_request("**/chat/sse?last_event_id=*"):
        page.clock.fast_forward(60_000)  # as if the computer had slept
    for process in silenced:
        process.resume()
    go_on.set()
    expect_answered(page)
    expect_same_as_server(visitor, page)


def test_a_visitor_who_was_offline_in_mid_answer_misses_nothing(visit: Visit, system: System) -> None:
    visitor = visit()
    page = visitor.page
    seen = everything_shown(page)
    choose(page, "story")
    ask(page, "Tell me the story.")
    expect(shown(page)).to_contain_text("3. Grüße")
    visitor.context.set_offline(True)
    web_workers(system)[0].kill()  # Chromium lets a line that is open live on: this ends it
    box(page).fill("What then?")
    page.get_by_role("button", name="Stop the answer").click()
    expect(page.get_by_role("alert")).to_have_text("No connection. Try again when you are back online.")
    expect(page.get_by_text("Reconnecting")).to_be_visible()
    system.until(system.ready)
    expect_no_answer_under_way(system, visitor)
    expect(answers(page)).to_have_attribute("data-state", "streaming")
    visitor.context.set_offline(False)
    expect_answered(page)
    expect_story(visitor, seen)
    expect(page.get_by_text("Reconnecting")).to_be_hidden()
    expect(box(page)).to_have_value("What then?")
    visitor.complaints.clear()


SERVER = """
server {{
    listen 127.0.0.1:{port};
    client_max_body_size 1k;
    location / {{
        proxy_pass http://127.0.0.1:{web};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
    }}
}}
"""


@pytest.fixture
def nginx(system: System, short_directory: Path) -> Iterator[str]:
    """The URL of an nginx in front of the system, which takes short messages only."""
    if find_nginx() is None:
        pytest.skip(MISSING)
    port = free_port()
    process = Nginx(short_directory / "page", SERVER.format(port=port, web=system.environment["PORT"]))
    url = f"http://127.0.0.1:{port}"
    system.until(lambda: _answers(url))
    yield url
    process.stop()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", trust_env=False).is_success
    except httpx2.HTTPError:
        return False


def test_a_proxy_that_finds_no_server_for_a_while_costs_nothing(nginx: str, system: System, visit: Visit) -> None:
    visitor = visit(nginx)
    page = visitor.page
    refusals: list[Any] = []
    page.on("response", lambda response: refusals.append(response) if response.status == 502 else None)
    ask(page, "x" * 2000)
    expect(page.get_by_role("alert")).to_contain_text("That message is too long: 32.8 kB at the most.")
    expect(box(page)).to_have_value("x" * 2000)
    box(page).fill("")

    seen = everything_shown(page)
    choose(page, "story")
    ask(page, "Tell me the story.")
    expect(shown(page)).to_contain_text("3. Grüße")
    web = system.child("gunicorn")
    assert web is not None
    web.send_signal(signal.SIGKILL)
    expect_answered(page)
    assert refusals
    assert len(refusals) < 30, "a slow machine's server is away for a minute"
    expect_story(visitor, seen)
    visitor.complaints.clear()


def test_pages_return_at_random_and_later_each_time(visit: Visit) -> None:
    waits = visit().page.evaluate(
        """async () => {
          const { Backoff } = await import("/static/js/stream/backoff.js");
          return Array.from({ length: 200 }, () => {
            const backoff = new Backoff();
            return Array.from({ length: 8 }, () => backoff.next());
          });
        }"""
    )
    windows = [1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000, 20_000]
    for nth, window in enumerate(windows):
        of_all = [page[nth] for page in waits]
        assert 0 <= min(of_all) < window / 4
        assert window * 3 / 4 < max(of_all) <= window


def test_earlier_messages_come_page_by_page_and_the_reader_stays_put(visit: Visit, system: System) -> None:
    visitor = visit()
    page = visitor.page
    ask(page, "The newest?")
    expect_answered(page)
    session_id = visitor.get("/session/current")["session_id"]
    old = [
        Message(str(uuid7()), "user", f"Question {number}?", None, "complete", rfc3339(datetime.now(UTC)))
        for number in range(110)
    ]
    redis, _ = events_of(system, session_id)
    words = keys(UUID(session_id)).words
    asked = redis.lindex(words, 0)
    assert isinstance(asked, bytes)
    redis.lset(words, 0, replace(Message.load(asked.decode()), parent=PREVIOUS).dump())  # it follows them
    redis.lpush(words, *(message.dump() for message in reversed(old)))
    page.reload()
    earlier = page.get_by_role("button", name="Earlier messages")
    expect(questions(page)).to_have_count(49)
    expect(answers(page)).to_have_count(1)
    expect(questions(page).last).to_be_in_viewport()

    first = questions(page).first
    first_seen = first.text_content()
    earlier.scroll_into_view_if_needed()
    before = first.bounding_box()
    page.evaluate("window.firstSeen = document.querySelector('#log > article')")
    earlier.press("Enter")
    expect(questions(page)).to_have_count(99)
    expect(questions(page).nth(50)).to_have_text(str(first_seen))
    assert page.evaluate("window.firstSeen === document.querySelectorAll('#log > article')[50]")
    after = questions(page).nth(50).bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 2
    expect(page.get_by_role("status")).to_have_text("Earlier messages are shown")
    expect(earlier).to_be_focused()

    ask(page, "Newer still?")
    expect_answered(page, 2)
    expect(questions(page)).to_have_count(100)  # what has been fetched stays when the page catches up

    earlier.press("Enter")
    expect(questions(page)).to_have_count(112)
    expect(earlier).to_be_hidden()
    expect(page.locator("#scroller")).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("All messages are shown")
    expected = [*(message.text for message in old), "The newest?", "Newer still?"]
    expect(questions(page).locator(".body")).to_have_text(expected)
