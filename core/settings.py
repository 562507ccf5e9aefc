"""Every option of Switchboard, with its default and its unit, in one place.

Options come from the environment or from a `.env` file in the working directory; the environment wins.
"""

import re
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: object) -> timedelta:
    """`"30m"` -> 30 minutes. A number and one of ms, s, m, h, d; a bare number means seconds.

    Raises ValueError with the expected form.
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", str(value).strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{str(value)!r} is not a duration; write a positive number and ms, s, m, h or d: 30m")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


def _named(name: str) -> AliasChoices:
    """The option's name in the environment, beside its field name in code."""
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """One process's options. Frozen: a process that wants others makes another object."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", validation_alias=_named("SWITCHBOARD_HOST"))
    port: int = Field(8000, ge=1, le=65535, validation_alias=_named("PORT"))
    flower_port: int = Field(5555, ge=1, le=65535, validation_alias=_named("FLOWER_PORT"))

    state_dir: Path = Field(Path(".switchboard"), validation_alias=_named("SWITCHBOARD_STATE_DIR"))
    configured_database_url: str | None = Field(None, repr=False, validation_alias=_named("DATABASE_URL"))
    configured_redis_url: str | None = Field(None, repr=False, validation_alias=_named("REDIS_URL"))
    configured_broker_url: str | None = Field(None, repr=False, validation_alias=_named("BROKER_URL"))
    models_path: Path = Field(Path("models.toml"), validation_alias=_named("SWITCHBOARD_MODELS"))
    model_url: str = Field("http://127.0.0.1:8081/v1", validation_alias=_named("SWITCHBOARD_MODEL_URL"))
    """Where the local model server listens; `switchboard up` picks a free port and sets it."""

    auto_create: Literal["on_message", "on_stream", "never"] = Field(
        "on_message", validation_alias=_named("SWITCHBOARD_AUTO_CREATE")
    )
    anonymous_idle: Duration = Field(timedelta(minutes=30), validation_alias=_named("SWITCHBOARD_ANONYMOUS_IDLE"))
    anonymous_max: Duration = Field(timedelta(hours=24), validation_alias=_named("SWITCHBOARD_ANONYMOUS_MAX"))
    user_idle: Duration = Field(timedelta(days=14), validation_alias=_named("SWITCHBOARD_USER_IDLE"))
    user_max: Duration = Field(timedelta(days=90), validation_alias=_named("SWITCHBOARD_USER_MAX"))

    sweep_every: Duration = Field(timedelta(seconds=60), validation_alias=_named("SWITCHBOARD_SWEEP_EVERY"))
    lease: Duration = Field(timedelta(seconds=10), validation_alias=_named("SWITCHBOARD_LEASE"))
    """How long a silent worker keeps a generation."""
    reply_wait: Duration = Field(timedelta(seconds=2), validation_alias=_named("SWITCHBOARD_REPLY_WAIT"))
    """How long a request waits for a worker's reply before it answers 202."""

    @cached_property
    def database_url(self) -> str:
        """The configured database, or SQLite in the state directory."""
        url = self.configured_database_url or f"sqlite:///{self.state_dir.absolute() / 'switchboard.db'}"
        # Hosting platforms hand out the bare scheme, which SQLAlchemy would read as psycopg2.
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)

    @cached_property
    def redis_url(self) -> str:
        """The configured Redis, or the usual local one. `switchboard up` sets it for its children."""
        return self.configured_redis_url or "redis://127.0.0.1:6379/0"

    @cached_property
    def broker_url(self) -> str:
        """The configured broker, or Redis, in the spelling that kombu wants for a Unix socket."""
        url = self.configured_broker_url or self.redis_url
        return re.sub(r"^unix://", "redis+socket://", url).replace("?db=", "?virtual_host=")
