from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.limits.rate import SECOND, Rate, parse_rate
from core.settings import Settings
from core.text.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("24h", 86400), ("14d", 1209600), ("10s", 10), ("500ms", 0.5)]
)
def test_durations_are_read_in_their_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0s", "5 weeks", "1h30m"])
def test_a_duration_that_is_none_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(ValueError, match="write a positive number and ms, s, m, h or d"):
        parse_duration(text)


def test_the_environment_names_are_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "SWITCHBOARD_HOST": "0.0.0.0",
        "PORT": "9000",
        "FLOWER_PORT": "9001",
        "DATABASE_URL": "postgresql://u:p@db/chat",
        "REDIS_URL": "redis://cache:6379/1",
        "BROKER_URL": "amqp://queue//",
        "SWITCHBOARD_STATE_DIR": "/var/lib/sb",
        "SWITCHBOARD_MODELS": "/etc/sb/models.toml",
        "SWITCHBOARD_AUTO_CREATE": "never",
        "SWITCHBOARD_ANONYMOUS_IDLE": "5m",
        "SWITCHBOARD_ANONYMOUS_MAX": "1h",
        "SWITCHBOARD_USER_IDLE": "1d",
        "SWITCHBOARD_USER_MAX": "2d",
        "SWITCHBOARD_SWEEP_EVERY": "7s",
        "SWITCHBOARD_AUDIT_RETENTION": "off",
        "SWITCHBOARD_LEASE": "3s",
        "SWITCHBOARD_LIMIT_CREATE": "7/m:2",
        "SWITCHBOARD_LIMIT_CREATE_GLOBAL": "off",
        "SWITCHBOARD_LIMIT_MESSAGES_ANONYMOUS": "1/s",
        "SWITCHBOARD_LIMIT_MESSAGES_USER": "2/s",
        "SWITCHBOARD_LIMIT_LOGIN": "3/30m",
        "SWITCHBOARD_CONCURRENT_ANONYMOUS": "3",
        "SWITCHBOARD_CONCURRENT_USER": "4",
        "SWITCHBOARD_TRUSTED_PROXIES": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.host, settings.port, settings.flower_port) == ("0.0.0.0", 9000, 9001)
    assert settings.database_url == "postgresql+psycopg://u:p@db/chat"
    assert (settings.redis_url, settings.broker_url) == ("redis://cache:6379/1", "amqp://queue//")
    assert (settings.state_dir, settings.models_path) == (Path("/var/lib/sb"), Path("/etc/sb/models.toml"))
    assert settings.auto_create == "never"
    assert (settings.anonymous_idle, settings.anonymous_max) == (timedelta(minutes=5), timedelta(hours=1))
    assert (settings.user_idle, settings.user_max) == (timedelta(days=1), timedelta(days=2))
    assert (settings.limit_create, settings.limit_create_global) == (Rate(7, 60 * SECOND, 2), None)
    assert (settings.limit_messages_anonymous, settings.limit_messages_user) == (
        Rate(1, SECOND, 1),
        Rate(2, SECOND, 2),
    )
    assert settings.limit_login == Rate(3, 1800 * SECOND, 3)
    assert (settings.concurrent_anonymous, settings.concurrent_user, settings.trusted_proxies) == (3, 4, 2)
    assert (settings.sweep_every, settings.lease) == (timedelta(seconds=7), timedelta(seconds=3))
    assert settings.audit_retention is None


def test_without_an_environment_everything_has_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.database_url == f"sqlite:///{tmp_path / '.switchboard' / 'switchboard.db'}"
    assert settings.broker_url == settings.redis_url
    assert settings.audit_retention == timedelta(days=365)


def test_the_limits_have_their_documented_defaults() -> None:
    settings = Settings()
    assert settings.limit_create == parse_rate("20/h:5")
    assert settings.limit_create_global == parse_rate("5000/h:500")
    assert settings.limit_messages_anonymous == parse_rate("15/m")
    assert settings.limit_messages_user == parse_rate("60/m")
    assert settings.limit_login == parse_rate("10/5m")
    assert (settings.concurrent_anonymous, settings.concurrent_user, settings.trusted_proxies) == (1, 2, 0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("SWITCHBOARD_LIMIT_LOGIN", "often", "'often' is not a rate; write COUNT/PERIOD"),
        ("SWITCHBOARD_LIMIT_CREATE", "0/h", "COUNT is 0"),
        ("SWITCHBOARD_CONCURRENT_USER", "0", "greater than or equal to 1"),
        ("SWITCHBOARD_TRUSTED_PROXIES", "-1", "greater than or equal to 0"),
        ("SWITCHBOARD_QUEUE_TYPE", "quorum", "quorum queues are RabbitMQ's; set BROKER_URL to amqp://"),
    ],
)
def test_a_broken_limit_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str, words: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ValidationError, match=f"(?s){name}.*{words}"):
        Settings()


def test_a_broken_option_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_ANONYMOUS_IDLE", "tomorrow")
    with pytest.raises(ValidationError, match="SWITCHBOARD_ANONYMOUS_IDLE"):
        Settings()


def test_passwords_in_urls_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@db/chat")
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@cache")
    assert "hunter2" not in repr(Settings())


def test_origins_are_named_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_CORS_ORIGINS", "https://a.example, http://[::1]:81,")
    assert Settings().cors_origins == ("https://a.example", "http://[::1]:81")
    monkeypatch.setenv("SWITCHBOARD_CORS_ORIGINS", "")
    assert Settings().cors_origins == ()


@pytest.mark.parametrize("text", ["*", "a.example", "https://a.example/", "https://*.example", "null", "file://x"])
def test_an_origin_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_CORS_ORIGINS", text)
    with pytest.raises(ValidationError, match="write scheme and host without a path"):
        Settings()


def test_the_identity_provider_is_configured_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings().oidc_login
    monkeypatch.setenv("SWITCHBOARD_REGISTRATION", "closed")
    monkeypatch.setenv("SWITCHBOARD_OIDC_ISSUER", "https://id.example/realm")
    monkeypatch.setenv("SWITCHBOARD_OIDC_AUDIENCE", "https://chat.example")
    monkeypatch.setenv("SWITCHBOARD_OIDC_JWKS_URL", "http://127.0.0.1:8080/keys")
    monkeypatch.setenv("SWITCHBOARD_OIDC_CLIENT_ID", "chat")
    monkeypatch.setenv("SWITCHBOARD_OIDC_CLIENT_SECRET", "hunter2")
    settings = Settings()
    assert settings.oidc_login
    assert (settings.registration, settings.oidc_audience) == ("closed", "https://chat.example")
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("url", ["http://id.example", "http://127.0.0.1.evil.example/", "file:///etc/passwd", "id"])
def test_an_identity_provider_that_anybody_could_play_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SWITCHBOARD_OIDC_ISSUER", url)
    with pytest.raises(ValidationError, match="not safe to ask who people are"):
        Settings()
