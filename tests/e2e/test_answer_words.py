"""Every way in which an answer may go wrong or end has words of its own on the page, and something to do about it."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
from playwright.sync_api import Page

from core.llm.providers.base import ErrorKind, FinishReason
from tests.e2e import test_page

modules = test_page.modules

REASONS = get_args(FinishReason)
WORDS = """async (items) => {
  const module = await import("/static/js/conversation/answer-status.js");
  const { endAnnouncement, recoveryAction, statusLine, thinkingSummary } = module;
  const label = (model) => model.toUpperCase();
  return items.map((item) => ({
    under: statusLine(item, label), heard: endAnnouncement(item, label), remedy: recoveryAction(item),
    above: thinkingSummary(item),
  }));
}"""

Words = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def words(modules: Page) -> Words:
    """What the page says of answers like these."""
    return lambda *items: modules.evaluate(WORDS, list(items))


def failed(reason: str, **more: Any) -> dict[str, Any]:
    problem = {"type": "/problems/provider-failed", "reason": reason, "model": "m", **more}
    return {"state": "failed", "text": "", "model": "m", "finish_reason": "error", "problem": problem}


def complete(reason: str | None, **more: Any) -> dict[str, Any]:
    return {"state": "complete", "text": "Half an", "model": "m", "finish_reason": reason, **more}


def test_each_kind_of_failure_says_what_to_do(words: Words) -> None:
    unknown, *told = words(failed("some day"), *map(failed, ErrorKind))
    assert unknown["under"] == "M was not available."
    said = [each["under"] for each in told]
    assert len({unknown["under"], *said}) == len(ErrorKind) + 1, "each kind has words of its own"
    for kind, each in zip(ErrorKind, told, strict=True):
        wrong, advice = each["under"].split(". ", 1)
        assert wrong.startswith("M "), kind
        assert advice.endswith("."), f"{kind}: nothing that a person can do about it"
        assert each["heard"] == f"The answer failed. {each['under']}"
        assert each["remedy"] == "retry"


def half(reason: str) -> dict[str, Any]:
    return {**failed(reason), "text": "Half"}


OPERATOR = "Choose another model, and tell the operator."
LATER = "Try again in a moment, or choose another model."


MIDWAY = {
    ErrorKind.UNREACHABLE: f"M could not be reached any more. {LATER}",
    ErrorKind.TIMEOUT: f"M fell silent. {LATER}",
    ErrorKind.EMPTY: "M did not go on. Try again.",
    ErrorKind.BROKEN_STREAM: "M broke off. Try again.",
}
"""What is another thing to say of an answer that had begun."""


@pytest.mark.parametrize(
    ("kind", "under"),
    [
        (ErrorKind.UNREACHABLE, f"M could not be reached. {LATER}"),
        (ErrorKind.TIMEOUT, f"M took too long. {LATER}"),
        (ErrorKind.BROKEN_STREAM, f"M sent no answer. {LATER}"),
        (ErrorKind.MODEL_NOT_FOUND, f"M is not known to its server by that name. {OPERATOR}"),
        (ErrorKind.MISSING_KEY, f"M has no key set here. {OPERATOR}"),
        (ErrorKind.QUOTA, f"M has no quota left. {OPERATOR}"),
        (ErrorKind.RATE_LIMITED, f"M was overloaded. {LATER}"),
        (ErrorKind.TOO_LONG, "M can’t take this much. Shorten your message, or choose another model."),  # noqa: RUF001
        (ErrorKind.FILTERED, "M has a filter that refused this message. Rephrase it."),
        (ErrorKind.EMPTY, "M gave no answer. Try again."),
    ],
)
def test_what_a_person_can_act_on(words: Words, kind: ErrorKind, under: str) -> None:
    [alone, begun] = words(failed(kind), half(kind))
    assert alone["under"] == under
    assert begun["under"] == f"Incomplete. {MIDWAY.get(kind, under)}"


def test_a_fallback_tells_what_was_wrong_before_and_in_the_middle(words: Words) -> None:
    change = {"from": "a", "to": "m", "reason": "broken-stream"}
    [before, midway] = words(
        *(complete("stop", eventDetails={"fallback": {**change, "midway": midway}}) for midway in (False, True))
    )
    assert before["under"] == "Answered by M, because A sent no answer"
    assert midway["under"] == "Finished by M, because A broke off"


def test_a_message_that_is_too_long_says_so_with_both_figures(words: Words) -> None:
    [told, half] = words(failed("too-long", tokens=9120, limit=8192), failed("too-long", tokens=9120))
    assert told["under"] == (
        "Your message is too long for M: 9,120 tokens, of 8,192 at the most. "
        "Shorten your message, or choose another model."
    )
    assert half["under"].startswith("M can’t take this much.")  # noqa: RUF001


@pytest.mark.parametrize(
    ("subject", "under"),
    [
        ("message", "Your message is too long for M"),
        ("conversation", "This conversation is too long for M"),
        ("instructions", "This service’s own instructions are too long for M"),  # noqa: RUF001
        ("answer", "Your message is too long for M to have room for an answer"),
        ("some day", "Your message is too long for M"),
    ],
)
def test_it_is_said_what_is_too_long(words: Words, subject: str, under: str) -> None:
    figures = [{"tokens": 9120, "limit": 8192}, {"tokens": 500, "limit": 1048}]
    [told, hidden] = words(*(failed("too-long", subject=subject, **each) for each in figures))
    assert told["under"].startswith(f"{under}: 9,120 tokens, of 8,192 at the most. ")
    assert hidden["under"].startswith(f"{under}. "), "figures that do not show it"
    assert told["under"].endswith(OPERATOR if subject == "instructions" else "or choose another model.")


def test_each_reason_of_an_end_has_words_and_a_remedy(words: Words) -> None:
    told = dict(zip(REASONS, words(*map(complete, REASONS)), strict=True))
    assert told.pop("stop") == {"under": "M", "heard": "Answer complete", "remedy": None, "above": "Thought"}
    assert len({each["heard"] for each in told.values()}) == len(told), "each reason has words of its own"
    for reason, each in told.items():
        assert each["under"].endswith(each["heard"])
        assert each["remedy"] == ("continue" if reason == "length" else "retry")
    assert {reason: each["under"] for reason, each in told.items()} == {
        "length": "M · The answer reached its length limit.",
        "content_filter": "M · The provider’s filter stopped this answer.",  # noqa: RUF001
        "refusal": "M declined to answer.",
        "tool_calls": "M asked for a tool, which this chat does not have.",
        "other": "M · The provider ended this answer without saying why.",
    }


def test_an_end_of_another_model_names_it_once_with_the_reason(words: Words) -> None:
    fallback = {"from": "a", "to": "m", "reason": "rate-limited", "midway": False}
    [refused, stopped] = words(
        complete("refusal", eventDetails={"fallback": fallback}),
        {**complete("stopped", eventDetails={"fallback": fallback}), "state": "stopped"},
    )
    assert refused["under"] == "Answered by M, because A was overloaded · M declined to answer."
    assert stopped == {
        "under": "Stopped · M, because A was overloaded",
        "heard": "Answer stopped",
        "remedy": None,
        "above": "Thought",
    }


@pytest.mark.parametrize("reason", [*REASONS, "error", "some day", None])
def test_no_text_at_all_says_why(words: Words, reason: str | None) -> None:
    [told] = words({**failed("empty"), "finish_reason": reason})
    assert told["remedy"] == "retry"
    assert told["under"] == {
        "length": "M reached its length limit before its first word. Try again.",
        "content_filter": "The provider’s filter stopped this answer.",  # noqa: RUF001
        "refusal": "M declined to answer.",
        "tool_calls": "M asked for a tool, which this chat does not have.",
        "other": "The provider ended this answer without saying why.",
    }.get(reason or "", "M gave no answer. Try again.")


def test_what_older_and_newer_servers_say_is_no_riddle(words: Words) -> None:
    """Fields that are missing, null, or have values of a later day."""
    bare = {"state": "complete", "text": "All.", "model": "m"}
    [missing, none, nameless, later, lost] = words(
        bare,
        complete(None, eventDetails=None, thinking=None, problem=None),
        complete("refusal", model=None),
        complete("some day"),
        {"state": "failed", "text": "", "model": None},
    )
    assert missing["under"] == none["under"] == "M"
    assert missing["remedy"] is none["remedy"] is None
    assert nameless["under"] == "The model declined to answer."
    assert later["under"] == "M · The provider ended this answer without saying why."
    assert lost["under"] == "This question was not answered."


@pytest.mark.parametrize(
    ("seconds", "above"),
    [
        (None, "Thought"),
        (1, "Thought for 1 s"),
        (59, "Thought for 59 s"),
        (60, "Thought for 1 min"),
        (75, "Thought for 1 min 15 s"),
        (3599, "Thought for 59 min 59 s"),
        (3600, "Thought for 1 h"),
        (7385, "Thought for 2 h 3 min"),
    ],
)
def test_how_long_a_model_thought(words: Words, seconds: int | None, above: str) -> None:
    [told] = words(complete("stop", thinking_seconds=seconds))
    assert told["above"] == above
