"""No spelling of a password is shown."""

import pytest

from core.masking import masked, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
        ("rediss://user:hun@ter2@cache/0?ssl_password=hunter2", "rediss://user:***@cache/0?ssl_password=***"),
        ("redis://user:hun:ter2/hunter2@cache", "redis://user:***@cache"),
        ("redis://user:hunter2%40@cache", "redis://user:***@cache"),
        ("unix:///run/redis.sock?db=1&password=hunter2", "unix:///run/redis.sock?db=1&password=***"),
        ("unix://:hunter2@/run/redis.sock", "unix://:***@/run/redis.sock"),
        ("unix:///home/a:b@c/redis.sock?db=0", "unix:///home/a:b@c/redis.sock?db=0"),
        ("amqp://a:hunter2@one//;amqps://b:hunter2@two//", "amqp://a:***@one//;amqps://b:***@two//"),
        ("postgresql://u@db/chat?password=hunter2&sslmode=require", "postgresql://u@db/chat?password=***&sslmode=require"),
        ("postgresql+psycopg:///chat?pass%77ord=hunter2", "postgresql+psycopg:///chat?pass%77ord=***"),
        ("postgresql://u:hun?ter2@db/chat", "postgresql://u:***@db/chat"),
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
