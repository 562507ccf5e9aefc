"""What of a provider's report is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.generation.usage import MAX_TEMPLATE_TOKENS, UsageMeter, credible, prompt_is_credible, with_thinking
from core.llm.providers.base import MAX_COUNT, Turn, Usage

SHOWN = Usage(100, 30, 10)
"""By its words."""


@pytest.mark.parametrize(
    ("reported", "believed"),
    [
        (Usage(90, 40, 5), Usage(90, 40, 5)),
        (Usage(0, 0), SHOWN),
        (Usage(90, 0), Usage(90, 30, 10)),
        (Usage(0, 40, 5), Usage(100, 40, 5)),
        (Usage(4000, 40), Usage(4000, 40)),
        (Usage(2147483548, 40), Usage(100, 40)),
        (Usage(2147483548, 0), SHOWN),
    ],
)
def test_what_can_not_be_is_estimated(reported: Usage, believed: Usage) -> None:
    assert credible(reported, SHOWN) == believed


def test_nothing_shown_and_nothing_counted_costs_nothing() -> None:
    assert credible(Usage(0, 0), Usage(0, 0)).total == 0


@pytest.mark.parametrize(
    ("completion", "reported", "text", "thinking", "reasoning"),
    [
        (1500, 0, "x" * 135, "Hmm, " * 1500, 1473),
        (1500, 700, "x" * 135, "Hmm, " * 1500, 700),
        (100, 0, "x" * 400, "x" * 400, 50),
        (100, 0, "x" * 40, "x" * 40, 50),
        (100, 0, "x", "x" * 100_000, 99),
        (100, 0, "x" * 100_000, "x", 1),
        (100, 0, "", "x", 100),
        (100, 0, "x", "", 0),
        (1, 0, "x", "x", 0),
    ],
)
def test_thinking_has_its_share_of_what_is_counted(
    completion: int, reported: int, text: str, thinking: str, reasoning: int
) -> None:
    usage = with_thinking(Usage(7, completion, reported), text, thinking)
    assert usage == Usage(7, completion, reasoning)


@given(st.integers(0, MAX_COUNT), st.integers(0, 10**6))
def test_a_prompt_is_never_more_than_its_bytes_can_be(reported: int, estimated: int) -> None:
    if prompt_is_credible(reported, estimated):
        assert 0 < reported <= 16 * estimated + MAX_TEMPLATE_TOKENS


def _question(*texts: str) -> list[Turn]:
    return [Turn("user", text) for text in texts]


def _take(meter: UsageMeter, *texts: str, begun: bool = False) -> None:
    meter.ask(_question(*texts), begun=begun)
    meter.take()


def test_a_meter_counts_the_prompt_that_the_first_word_came_from() -> None:
    meter = UsageMeter()
    _take(meter, "x" * 400)
    _take(meter, "x" * 40)
    _take(meter, "x" * 4000, begun=True)
    assert meter.usage("So.", "") == Usage(10, 1, 0)
    assert meter.usage("", "") == Usage(10, 0), "the server has taken it, whatever came of it"


def test_a_prompt_that_was_refused_does_not_count_and_one_before_it_does() -> None:
    meter = UsageMeter()
    meter.ask(_question("x" * 40), begun=False)
    meter.refuse()
    assert meter.usage("", "") == Usage(0, 0)
    _take(meter, "x" * 400)
    meter.report(Usage(90, 40, 40))
    meter.ask(_question("x" * 40), begun=False)
    meter.refuse()
    assert meter.usage("", "") == Usage(90, 40, 40)
    _take(meter, "x" * 40)
    assert meter.usage("So.", "") == Usage(10, 1), "the report was on what is no part of the answer"


def test_a_prompt_counts_once_for_all_workers() -> None:
    meter = UsageMeter(100)
    assert meter.usage("So.", "") == Usage(100, 1), "this worker has asked nothing"
    _take(meter, "x" * 40, begun=True)
    assert meter.usage("So. Now", "") == Usage(100, 2)
    meter = UsageMeter(100)
    _take(meter, "x" * 40)
    assert meter.usage("", "") == Usage(10, 0), "the answer has begun anew"


def test_a_report_holds_before_an_estimate() -> None:
    meter = UsageMeter()
    _take(meter, "x" * 40)
    meter.report(Usage(12, 7, 2))
    assert meter.usage("So.", "Hmm") == Usage(12, 7, 2)
    assert meter.estimate("So.", "Hmm").prompt_tokens == 10
