"""Why an answer failed, in words."""

from typing import get_args

import pytest

from core.generation.context_window import Subject, TooLong
from core.generation.failure import EmptyAnswer, failed, finish_reason, may_go_on
from core.llm.providers.base import REASONS, ErrorKind, FinishReason, ProviderError


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_is_told_with_its_reason_and_its_model(kind: ErrorKind) -> None:
    problem = failed("big", ProviderError(kind, "HTTP 400", provider_message="sk-secret: Why?"), begun=True).problem()
    assert (problem["type"], problem["reason"], problem["model"]) == ("/problems/provider-failed", kind.value, "big")
    assert problem["detail"] == REASONS[kind]
    assert "secret" not in str(problem)
    assert type(problem["reason"]) is str


def test_what_never_began_did_not_break_off() -> None:
    assert failed("big", ProviderError(ErrorKind.BROKEN_STREAM)).detail == "The model's server sent no answer."


@pytest.mark.parametrize(
    ("subject", "who", "tokens", "limit", "told", "detail"),
    [
        (
            "message",
            "Your message",
            5120,
            3696,
            "message",
            "Your message has about 5,120 tokens; Big takes at most 3,696.",
        ),
        (
            "message",
            "Your message",
            500,
            1048,
            "answer",
            "Your message and the room for an answer are more than Big takes.",
        ),
        (
            "conversation",
            "This conversation",
            500,
            500,
            "conversation",
            "This conversation and the room for an answer are more than Big takes.",
        ),
        (
            "instructions",
            "This service's own instructions",
            90,
            80,
            "instructions",
            "This service's own instructions have about 90 tokens; Big takes at most 80.",
        ),
    ],
)
def test_too_long_says_what_is_and_figures_only_where_they_show_it(
    subject: Subject, who: str, tokens: int, limit: int, told: str, detail: str
) -> None:
    error = TooLong(
        subject, who, tokens, limit, "Big", ProviderError(ErrorKind.TOO_LONG, provider_message="sk-secret")
    )
    problem = failed("big", error).problem()
    assert (problem["subject"], problem["tokens"], problem["limit"]) == (told, tokens, limit)
    assert problem["detail"] == detail
    assert "tokens" not in failed("big", ProviderError(ErrorKind.TOO_LONG, prompt_tokens=9, limit_tokens=8)).problem()


@pytest.mark.parametrize("reason", get_args(FinishReason))
def test_an_end_without_a_word_is_told_as_what_it_is(reason: FinishReason) -> None:
    error = EmptyAnswer(reason, thought=False)
    assert error.kind is (ErrorKind.FILTERED if reason == "content_filter" else ErrorKind.EMPTY)
    assert finish_reason(error) == ("error" if reason == "stop" else reason)


def test_what_used_up_its_room_and_what_wants_a_tool_have_words_of_their_own() -> None:
    details = {failed("big", EmptyAnswer(each, thought=False)).detail for each in ("stop", "length", "tool_calls")}
    assert len(details) == 3


def test_other_failures_have_no_reason_of_the_providers() -> None:
    assert finish_reason(ProviderError(ErrorKind.TIMEOUT)) == "error"


def test_a_filter_is_told_alike_whether_as_an_error_or_as_a_reason() -> None:
    assert finish_reason(ProviderError(ErrorKind.FILTERED)) == "content_filter"
    assert finish_reason(EmptyAnswer("content_filter", thought=True)) == "content_filter"


def test_which_failures_have_the_model_asked_once_more() -> None:
    broken, silent = ProviderError(ErrorKind.BROKEN_STREAM), ProviderError(ErrorKind.TIMEOUT)
    assert may_go_on(broken, wrote=True, thought=False)
    assert may_go_on(silent, wrote=True, thought=True)
    assert may_go_on(broken, wrote=False, thought=True)
    assert not may_go_on(silent, wrote=False, thought=True), "it would be silent for as long again"
    assert not may_go_on(broken, wrote=False, thought=False)
    for kind in ErrorKind:
        once_more = kind in (
            ErrorKind.BROKEN_STREAM,
            ErrorKind.SERVER_ERROR,
            ErrorKind.UNREACHABLE,
            ErrorKind.TIMEOUT,
        )
        assert may_go_on(ProviderError(kind), wrote=True, thought=False) == once_more, kind
    assert may_go_on(EmptyAnswer("length", thought=True), wrote=False, thought=True)
    assert not may_go_on(EmptyAnswer("length", thought=False), wrote=False, thought=False)
    assert not may_go_on(EmptyAnswer("stop", thought=True), wrote=False, thought=True)
