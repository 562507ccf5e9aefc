import pytest

from core.limits.rate import SECOND, Rate, parse_budget, parse_rate

HOUR = 3600 * SECOND


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/h:5", Rate(20, HOUR, 5)),
        ("15/m", Rate(15, 60 * SECOND, 15)),
        ("10/5m", Rate(10, 300 * SECOND, 10)),
        ("5000/h:500", Rate(5000, HOUR, 500)),
        (" 1/d ", Rate(1, 24 * HOUR, 1)),
        ("off", None),
    ],
)
def test_rates_are_read(text: str, rate: Rate | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not a rate; write COUNT/PERIOD"),
        ("often", "'often' is not a rate; write COUNT/PERIOD"),
        ("20", "'20' is not a rate"),
        ("20/h:", "'20/h:' is not a rate"),
        ("20/w", "'20/w' is not a rate"),
        ("-1/h", "'-1/h' is not a rate"),
        ("1.5/h", "'1.5/h' is not a rate"),
        ("٣/h", "is not a rate"),
        ("0/h", "COUNT is 0"),
        ("1/0m", "PERIOD is 0"),
        ("1/h:0", "BURST is 0"),
        ("2000000/s", "more than one per microsecond"),
        ("1/400d", "more than a year"),
        ("1/d:400", "more than a year"),
    ],
)
def test_what_is_no_rate_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_rate(text)


def test_budgets_are_rates_of_millionths() -> None:
    assert parse_budget("2.50/d") == Rate(2_500_000, 24 * HOUR, 2_500_000)
    assert parse_budget("20/30d:0.000001") == Rate(20_000_000, 720 * HOUR, 1)
    assert parse_budget("off") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2,50/d", "'2,50/d' is not a budget; write AMOUNT/PERIOD"),
        ("2.5000001/d", "is not a budget"),
        ("0.00/d", "AMOUNT is 0"),
        ("2/s", "more than one unit of money a second"),
        ("1/400d", "more than a year"),
    ],
)
def test_what_is_no_budget_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_budget(text)


def test_a_unit_never_comes_back_faster_than_was_said() -> None:
    sevenths = Rate(7, 60 * SECOND, 7)
    assert sevenths.interval * 7 >= 60 * SECOND
    assert Rate(20, HOUR, 5).interval == 180 * SECOND
    assert Rate(20, HOUR, 5).capacity == 900 * SECOND


def test_a_group_gets_a_multiple() -> None:
    assert Rate(20, HOUR, 5).times(4) == Rate(80, HOUR, 20)
