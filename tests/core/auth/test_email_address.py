"""Addresses as the names of accounts."""

import time

import pytest

from core.auth.email_address import MAX_LENGTH, account_key, normal_address
from core.errors import InvalidBody

LONG = {
    "marks": "\u0301\u0316" * 60_000,
    "letters": "a" * 1_000_000 + "@example.org",
    "spaces": " " * 1_000_000,
    "signs": "@" * (MAX_LENGTH + 1),
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_what_is_too_long_to_be_one_is_not_looked_at(text: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidBody, match=f"at most {MAX_LENGTH} characters") as refused:
        normal_address(text)
    assert refused.value.extra["field"] == "email"
    assert len(refused.value.detail) < 100
    assert len(account_key(text)) < 100
    assert time.process_time() - began < 0.5


def test_spaces_before_somebody_else_s_address_do_not_count_for_it() -> None:
    assert account_key(" " * MAX_LENGTH + "somebody@example.org") != account_key("somebody@example.org")
    assert account_key(" Somebody@example.org ") == account_key("somebody@example.org")


def test_the_longest_address_is_one() -> None:
    address = f"{'a' * 64}@{'.'.join(['b' * 61] * 3)}.org"
    assert normal_address(address) == address
