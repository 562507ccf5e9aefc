import pytest

from core.limits.buckets import address_buckets, creation_buckets, login_buckets
from core.limits.rate import Rate

RATE = Rate(20, 3_600_000_000, 5)


@pytest.mark.parametrize(
    ("address", "subjects"),
    [
        ("192.0.2.77", ["192.0.2.77/32", "192.0.2.0/24", "192.0.0.0/16"]),
        ("::ffff:192.0.2.77", ["192.0.2.77/32", "192.0.2.0/24", "192.0.0.0/16"]),
        ("2001:db8:1:2ff:3:4:5:6", ["2001:db8:1:2ff::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]),
        ("2001:DB8:1:2FF::1", ["2001:db8:1:2ff::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]),
        ("fe80::1%eth0", ["fe80::/64", "fe80::/56", "fe80::/48"]),
        ("::1", ["::/64", "::/56", "::/48"]),
    ],
)
def test_an_address_counts_with_the_networks_around_it(address: str, subjects: list[str]) -> None:
    buckets = address_buckets("create", address, RATE)
    assert [bucket.subject for bucket in buckets] == subjects
    assert [bucket.rate for bucket in buckets] == [RATE, RATE.times(4), RATE.times(16)]
    assert [bucket.public for bucket in buckets] == [True, False, False]


@pytest.mark.parametrize("address", [None, "", "nonsense", "192.0.2.0/24", "1.2.3"])
def test_who_has_no_address_shares_one_bucket(address: str | None) -> None:
    assert [bucket.subject for bucket in address_buckets("create", address, RATE)] == ["nowhere"]


def test_a_creation_counts_for_all_the_world_too() -> None:
    assert [bucket.policy for bucket in creation_buckets("192.0.2.77", RATE, RATE)] == [
        "create",
        "create-network",
        "create-network",
        "create-global",
    ]
    assert creation_buckets("192.0.2.77", None, None) == []
    assert len(creation_buckets("192.0.2.77", None, RATE)) == 1


def test_a_login_counts_for_the_address_and_the_account() -> None:
    buckets = login_buckets("192.0.2.77", "ann@example.org", RATE)
    assert [bucket.policy for bucket in buckets] == ["login", "login-network", "login-network", "login-account"]
    # Others' attempts at the account are none of this client's business.
    assert [bucket.policy for bucket in buckets if bucket.public] == ["login"]
    assert login_buckets("192.0.2.77", "ann@example.org", None) == []
