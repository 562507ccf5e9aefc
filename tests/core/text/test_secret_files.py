"""Secrets in files, as supervisors hand them to a process."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError
from core.llm.providers.wire import api_key
from core.operations.preflight.environment import read_settings
from core.operations.preflight.mistake import Misconfigured
from core.settings import Settings
from core.text.secret_files import DIRECTORY_VARIABLES, MAX_BYTES, UnreadableSecret, has_secret, read_secret

MODEL = ModelConfig(label="M", provider="openai", model="m", api_key_env="SOME_API_KEY")


@pytest.fixture(params=DIRECTORY_VARIABLES)
def secrets(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of secrets, however it is named."""
    directory = tmp_path / "secrets"
    directory.mkdir()
    monkeypatch.setenv(request.param, str(directory))
    return directory


def test_settings_are_read_from_files_of_their_names(secrets: Path) -> None:
    (secrets / "DATABASE_URL").write_text("postgresql://chat:words@db/chat\n")
    (secrets / "SWITCHBOARD_METRICS_TOKEN").write_text("token\n")
    settings = Settings()
    assert settings.database_url == "postgresql+psycopg://chat:words@db/chat"
    assert settings.metrics_token is not None
    assert settings.metrics_token.get_secret_value() == "token"
    assert "words" not in repr(settings)


def test_the_environment_comes_first(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "REDIS_URL").write_text("redis://file")
    (secrets / "SOME_API_KEY").write_text("file")
    monkeypatch.setenv("REDIS_URL", "redis://environment")
    monkeypatch.setenv("SOME_API_KEY", "environment")
    assert Settings().redis_url == "redis://environment:6379/0"
    assert api_key(MODEL, "") == "environment"


def test_a_file_is_checked_like_the_variable(secrets: Path) -> None:
    (secrets / "REDIS_URL").write_text("http://words@cache")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "REDIS_URL" in str(refused.value)
    assert "words" not in str(refused.value)


def test_models_keys_are_read_from_files_too(secrets: Path) -> None:
    assert not has_secret("SOME_API_KEY")
    (secrets / "SOME_API_KEY").write_text("first\n")
    assert api_key(MODEL, "") == "first"
    (secrets / "SOME_API_KEY").write_text("rotated")
    assert api_key(MODEL, "") == "rotated"


@pytest.mark.parametrize("content", [b"x" * (MAX_BYTES + 1), b"\xff\xfe"])
def test_what_is_no_secret_is_named_and_not_shown(secrets: Path, content: bytes) -> None:
    (secrets / "SOME_API_KEY").write_bytes(content)
    with pytest.raises(UnreadableSecret, match="SOME_API_KEY"):
        read_secret("SOME_API_KEY")
    assert not has_secret("SOME_API_KEY")
    with pytest.raises(ProviderError) as failed:
        api_key(MODEL, "")
    assert failed.value.kind is ErrorKind.MISCONFIGURED


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_a_name_leads_out_of_the_directory_nowhere(secrets: Path, name: str) -> None:
    (secrets.parent / "outside").write_text("words")
    assert read_secret(name) == ""


def test_a_directory_that_is_none_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_SECRETS_DIR", str(tmp_path / "missing"))
    with pytest.raises(ValidationError, match="SWITCHBOARD_SECRETS_DIR"):
        Settings()


@pytest.mark.parametrize("users", ["operator", "operator:", ":words", "operator:words,other"])
def test_flowers_users_have_passwords(users: str) -> None:
    with pytest.raises(ValidationError, match="user:password") as refused:
        Settings(flower_basic_auth=users)
    assert "words" not in str(refused.value)


@pytest.mark.parametrize("name", ["DATABASE_URL", "PORT"])
def test_a_file_that_is_no_text_stops_the_start_and_is_named(secrets: Path, name: str) -> None:
    (secrets / name).write_bytes(b"\xff\xfehunter2")
    with pytest.raises(Misconfigured) as raised:
        read_settings()
    assert str(raised.value).startswith(f"{secrets / name} is not UTF-8 text; ")
    assert "hunter2" not in str(raised.value)


def test_a_directory_of_an_options_name_stops_the_start(secrets: Path) -> None:
    (secrets / "DATABASE_URL").mkdir()
    with pytest.raises(Misconfigured, match="DATABASE_URL: Is a directory; let it hold the option's value alone"):
        read_settings()


def test_what_is_no_file_that_can_be_read_is_named_and_not_waited_for(secrets: Path) -> None:
    def complaint() -> str:
        with pytest.raises(Misconfigured) as raised:
            read_settings()
        return str(raised.value)

    file = secrets / "DATABASE_URL"
    file.symlink_to(secrets / "..data" / "DATABASE_URL")
    assert complaint().startswith(f"{file}: leads to {secrets}/..data/DATABASE_URL, which is not there; ")
    file.unlink()
    os.mkfifo(file)
    assert complaint().startswith(f"{file} is no file; ")
    file.unlink()
    file.write_text("postgresql://a:hunter2@b/c", encoding="utf-8-sig")
    assert complaint().startswith(f"{file} begins with a byte order mark, which can't be seen; ")
    file.unlink()
    (secrets / "SWITCHBOARD_METRIC_TOKEN").write_text("hunter2")
    assert complaint() == (
        f"{secrets}/SWITCHBOARD_METRIC_TOKEN: there is no such option; did you mean SWITCHBOARD_METRICS_TOKEN?"
    )
