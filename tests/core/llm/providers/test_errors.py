"""What servers' refusals mean, in the words and the shapes that they have for them."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.llm.providers.errors import Complaint, complaint_of, error_in
from core.llm.providers.retry_after import MAX_RETRY_AFTER

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("refusals.json").read_text())
"""Refusals as the servers' documentation and users' reports have them. A status of null: told with a success."""
BODIES = {case["name"]: case["body"] for case in CASES}


def _named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", _named(CASES))
def test_a_refusal_is_understood(case: dict[str, Any]) -> None:
    assert complaint_of(case["body"], case["status"]).kind == case["kind"]
    if case["status"] is None:
        told = error_in(case["body"])
        assert told is not None
        assert told.kind == case["kind"]


@pytest.mark.parametrize("case", _named([case for case in CASES if "tokens" in case]))
def test_the_figures_are_found(case: dict[str, Any]) -> None:
    complaint = complaint_of(case["body"], case["status"])
    assert (complaint.prompt_tokens, complaint.limit_tokens) == (case["tokens"], case["limit"])


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, "", 7),
        ({"retry-after": " 1.5 "}, "", 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25),
        ({"retry-after": "9" * 400}, "", MAX_RETRY_AFTER),
        ({"retry-after": "100000"}, "", MAX_RETRY_AFTER),
        ({"retry-after": "-5"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "inf"}, "", None),
        ({"retry-after": "²"}, "", None),
        ({"retry-after": "Fri, 99 Foo 99999 99:99:99 GMT"}, "", None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", 0),
        ({}, BODIES["Gemini, rate"], 34.07),
        ({}, BODIES["Groq, rate"], 4.1),
        ({}, BODIES["Azure, rate"], 7),
        ({}, {"error": {"message": "Please try again in 1m2.5s."}}, 62.5),
        ({}, {"error": {"message": "Please try again in 120ms."}}, 0.12),
        ({}, {"error": {"message": "Please try again in 6h3m0s."}}, 21780),
        ({}, {"error": {"message": "Please try again in a moment."}}, None),
        ({}, {"error": {"message": "Please try again in 2 minutes."}}, 120),
        ({}, {"error": {"message": "Please try again in 2 minutes and 5 seconds."}}, 125),
        ({}, {"error": {"message": "Try again in 1 hour"}}, 3600),
        ({}, {"error": {"message": "Try again in an hour, please"}}, 3600),
        ({}, {"error": {"message": "Limit of 10 per minute; please wait 30 seconds before you retry."}}, 30),
        ({}, {"error": {"message": "Please wait before trying again: 30 requests were too many."}}, None),
        ({}, {"error": {"message": "Please retry after 12 seconds."}}, 12),
        ({}, {"error": {"message": "You can retry after 2015-10-21T07:28:00Z."}}, 0),
        ({}, {"error": {"message": "You can retry 3 times."}}, None),
        ({}, {"error": {"message": "Try again in 999999999999999 days"}}, MAX_RETRY_AFTER),
        ({"retry-after": "60s"}, "", 60),
        ({"retry-after": "120 seconds"}, "", 120),
        ({"retry-after": "1m30s"}, "", 90),
        ({"retry-after": "5, 10"}, "", 10),
        ({"retry-after": "2015-10-21T07:28:00Z"}, "", 0),
        ({"retry-after": "2015-10-21 07:28:00"}, "", 0),
        ({"retry-after": "9999-12-31T23:59:59Z"}, "", MAX_RETRY_AFTER),
        ({"retry-after": "2015-99-99T07:28:00Z"}, "", None),
        ({"retry-after": "1445412480"}, "", 0),
        ({"retry-after": "1445412480000"}, "", 0),
        ({"retry-after": "99999999999"}, "", MAX_RETRY_AFTER),
        ({"retry-after": "soon"}, "", None),
        ({"retry-after": "a few seconds"}, "", None),
        ({"x-ratelimit-reset-requests": "1m30s"}, "", 90),
        ({"x-ratelimit-reset-requests": "8.64s", "x-ratelimit-reset-tokens": "120ms"}, "", 0.12),
        (
            {
                "x-ratelimit-reset-requests": "8.64s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "120ms",
                "x-ratelimit-remaining-tokens": "900",
            },
            "",
            8.64,
        ),
        ({"x-ratelimit-reset": "1445412480000"}, "", 0),
        ({"anthropic-ratelimit-tokens-reset": "2015-10-21T07:28:00Z"}, "", 0),
        ({"x-ratelimit-reset-tokens": "1m30s", "retry-after": "2"}, "", 2),
        ({"x-ratelimit-reset-tokens": "1m30s"}, {"error": {"message": "Please try again in 4s"}}, 4),
        ({"x-ratelimit-reset-tokens": "9" * 99}, "", MAX_RETRY_AFTER),
    ],
)
def test_a_server_says_when_to_come_back(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    waits = complaint_of(body, 429, headers).retry_after
    assert waits == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "told",
    [
        lambda moment: formatdate(moment, usegmt=True),
        lambda moment: datetime.fromtimestamp(moment, UTC).isoformat(),
        lambda moment: f"{moment:.0f}",
        lambda moment: f"{moment * 1000:.0f}",
    ],
    ids=["HTTP's date", "ISO's date", "seconds since 1970", "milliseconds since 1970"],
)
def test_a_moment_is_seconds_from_now(told: Callable[[float], str]) -> None:
    date = told(time.time() + 100)
    assert 90 <= (complaint_of("", 429, {"retry-after": date}).retry_after or 0) <= 101


@pytest.mark.parametrize("status", [400, 500, 503])
def test_headers_of_a_rate_mean_nothing_beside_another_error(status: int) -> None:
    assert complaint_of("", status, {"x-ratelimit-reset-requests": "1m30s"}).retry_after is None


def test_headers_of_a_rate_make_no_rate_of_a_quota() -> None:
    told = complaint_of("You exceeded your current quota.", 429, {"x-ratelimit-reset-requests": "1s"})
    assert told.kind == "quota"


@given(st.text("0123456789. smhd,andT:-Z", max_size=40), st.text("0123456789. smhdT:-Z", max_size=40))
def test_any_wait_is_bounded(header: str, words: str) -> None:
    told = complaint_of(f"Please try again in {words}", 429, {"retry-after": header, "x-ratelimit-reset": header})
    assert told.retry_after is None or 0 <= told.retry_after <= MAX_RETRY_AFTER


@pytest.mark.parametrize(
    "data",
    [
        {"choices": [{"delta": {"content": "error"}}], "error": None},
        {"choices": [], "error": {}},
        {"choices": [], "error": {"code": 0, "message": ""}},
        {"choices": [], "error": "None"},
        {"code": 200, "msg": "ok"},
        {"code": 0, "message": "Success", "sid": "x"},
        {"error_code": 0, "error_msg": ""},
        {"success": True, "errors": []},
        {"type": "message_start", "message": {"usage": {}}},
        {"type": "ping"},
        {"choices": [], "base_resp": {"status_code": 0, "status_msg": ""}},
        {},
        {"choices": [{"delta": {}}], "message": "all is well"},
    ],
)
def test_what_is_no_error_is_none(data: Any) -> None:
    assert error_in(data) is None


@pytest.mark.parametrize(
    "body",
    [
        {"errors": ["Out of order"]},
        {"errors": [{"message": "Out of order"}]},
        {"Message": "Out of order"},
        {"exception": "Out of order"},
        {"reason": "Out of order"},
        {"fault": {"faultstring": "Out of order", "detail": {"errorcode": "x"}}},
        {"error_code": 5, "error_msg": "Out of order"},
        {"errcode": 5, "errmsg": "Out of order"},
        {"error": "failed", "error_description": "Out of order"},
        {"error": {"errors": [{"message": "Out of order", "reason": "badRequest"}], "code": 400}},
    ],
)
def test_the_words_are_found_wherever_they_are(body: Any) -> None:
    assert "Out of order" in complaint_of(body, 400).message


@pytest.mark.parametrize(
    ("message", "ran_out"),
    [
        ("Reached context length of 4096 tokens, and it does not support mid-generation context overflow.", True),
        ("context shift is disabled", True),
        ("The prompt is longer than the context window.", False),
    ],
)
def test_a_context_that_fills_up_while_it_writes_is_an_end(message: str, ran_out: bool) -> None:
    assert complaint_of({"error": {"message": message, "code": 500}}).ran_out is ran_out


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "detail", "details", "code", "type", "status", "param", "loc", "raw"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(JSON, st.none() | st.integers(400, 599), st.text(max_size=30))
def test_any_body_is_some_complaint(body: Any, status: int | None, retry_after: str) -> None:
    complaint = complaint_of(body, status, {"retry-after": retry_after})
    assert isinstance(complaint, Complaint)
    assert complaint.retry_after is None or 0 <= complaint.retry_after <= MAX_RETRY_AFTER


def test_bodies_that_are_deep_or_wide_take_no_time() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = {"error": deep, "message": "max context " * 1000}
    begun = time.monotonic()
    complaint_of(deep, 400)
    complaint_of({"error": [{"message": "the prompt " * 100_000}] * 1000}, 400)
    complaint_of("context " * 1_000_000, 400)
    assert time.monotonic() - begun < 2
