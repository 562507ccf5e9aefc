"""No spelling of a password is shown."""

import pytest

from core.text.masking import masked, secrets_of, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
        ("rediss://user:hun@ter2@cache/0?ssl_password=hunter2", "rediss://user:***@cache/0?ssl_password=***"),
        ("redis://user:hun:ter2/hunter2@cache", "redis://user:***@cache"),
        ("redis://user:hunter2%40@cache", "redis://user:***@cache"),
        ("sentinel://u:hunter2@a:1/m?db=0&others=b:2,[::1]:3", "sentinel://u:***@a:1,b:2,[::1]:3/m"),
        ("sentinels://a:1/m?db=2&others=b:2&sentinel_password=hunter2", "sentinels://a:1,b:2/m?db=2&sentinel_password=***"),
        ("sentinel://a:1,b:2/m?db=1", "sentinel://a:1,b:2/m?db=1"),
        ("unix:///run/redis.sock?db=1&password=hunter2", "unix:///run/redis.sock?db=1&password=***"),
        ("unix://:hunter2@/run/redis.sock", "unix://:***@/run/redis.sock"),
        ("unix:///home/a:b@c/redis.sock?db=0", "unix:///home/a:b@c/redis.sock?db=0"),
        ("amqp://a:hunter2@one//;amqps://b:hunter2@two//", "amqp://a:***@one//;amqps://b:***@two//"),
        ("postgresql://u@db/chat?password=hunter2&sslmode=require", "postgresql://u@db/chat?password=***&sslmode=require"),
        ("postgresql+psycopg:///chat?pass%77ord=hunter2", "postgresql+psycopg:///chat?pass%77ord=***"),
        ("postgresql://u:hun?ter2@db/chat", "postgresql://u:***@db/chat"),
        ("https://hunter2@models/v1", "https://***@models/v1"),
        ("https://me:hunter2@models/v1/", "https://***@models/v1/"),
        ("https://models/v1/@cf/meta", "https://models/v1/@cf/meta"),
        ("https://models/v1?api-version=2024-10-21&api-key=hunter2", "https://models/v1?api-version=2024-10-21&api-key=***"),
        ("https://models/v1?subscription-key=hunter2#x", "https://models/v1?subscription-key=***#x"),
        ("https://models/v1?key=hunter2&code=hunter2&sig=hunter2%3D", "https://models/v1?key=***&code=***&sig=***"),
        ("https://models/v1?AUTH=hunter2", "https://models/v1?AUTH=***"),
        ("https://models/v1?hunter2", "https://models/v1?***"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    "text",
    [
        "can't connect to {url}",
        "invalid literal for int() with base 10: 'hunter2'",
        "invalid percent-encoded token: \"hunter2%2Fs\"",
        "AUTH hunter2/s failed",
    ],
)  # fmt: skip
def test_what_a_library_says_is_shown_without_it(text: str) -> None:
    url = "redis://:hunter2%2Fs@cache/0"
    assert "hunter2" not in without_secrets(text.format(url=url), url)
    assert "***" in without_secrets(text.format(url=url), url)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://hunter2@models/v1", "hunter2"),
        ("https://me:hunter2%40@models/v1", "hunter2@"),
        ("https://models/v1?sig=hunter2%3D", "hunter2="),
        ("https://models/v1?hunter2&api-version=2024-10-21", "hunter2"),
    ],
)  # fmt: skip
def test_what_is_secret_of_a_url(url: str, secret: str) -> None:
    assert secret in secrets_of(url)
    assert not {"models", "v1", "2024-10-21"} & secrets_of(url)
