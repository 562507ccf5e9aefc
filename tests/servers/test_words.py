"""Each recorded stream's words on the page, made of what is kept."""

import re

import pytest

from core.llm.providers.base import ErrorKind
from tests.e2e.browser import MISSING, find_chromium
from tests.servers.case import Case
from tests.servers.chats import Chats
from tests.servers.replay import Replay
from tests.servers.streams import CASES
from tests.servers.words import under_answers

FAILED = {
    ErrorKind.UNREACHABLE: "could not be reached",
    ErrorKind.UNAUTHORIZED: "key",
    ErrorKind.MODEL_NOT_FOUND: "name",
    ErrorKind.QUOTA: "quota",
    ErrorKind.RATE_LIMITED: "overloaded",
    ErrorKind.TOO_LONG: "too long",
    ErrorKind.FILTERED: "filter",
    ErrorKind.REJECTED: "did not accept",
    ErrorKind.EMPTY: "no answer",
    ErrorKind.SERVER_ERROR: "error",
    ErrorKind.BROKEN_STREAM: "broke off",
}
"""What must be said of a failure."""
WITHOUT_A_WORD = {**FAILED, ErrorKind.BROKEN_STREAM: "sent no answer"}
"""The same where nothing of an answer came."""
ENDED = {
    "length": "length limit",
    "content_filter": "filter",
    "refusal": "declined",
    "tool_calls": "tool",
    "other": "without saying why",
}
"""What must be said of an end, also of one before the first word."""


def _words(case: Case) -> list[str]:
    """Patterns, all of which must be found, and those of none else."""
    if case.failure is ErrorKind.TOO_LONG and case.tokens and case.tokens > (case.limit or 0):
        return [FAILED[ErrorKind.TOO_LONG], f"{case.tokens:,}"]
    if case.failure and not case.error and case.told_reason in ENDED:
        return [ENDED[case.told_reason]]
    if case.failure:
        return [FAILED[case.failure], "Incomplete"] if case.text.strip() else [WITHOUT_A_WORD[case.failure]]
    return [ENDED[case.told_reason]] if case.told_reason in ENDED else []


def test_the_page_says_of_each_what_became_of_it(chats: Chats, replay: Replay) -> None:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip(MISSING)
    replay.cut = lambda case: [case.body]
    told = under_answers(chromium, [chats.about(name).message for name in CASES], chats.runtime)
    wrong = {}
    for (name, case), words in zip(CASES.items(), told, strict=True):
        said = all(re.search(pattern, words) for pattern in _words(case))
        plain = words == chats.about(name).message["model"]
        if not said or plain != (not _words(case)):
            wrong[name] = words
    assert wrong == {}
