"""Every option of Switchboard, with its default and its unit, in one place.

Options come from the environment, from a `.env` file in the working directory, or from files of their names in the
directory of secrets; the environment wins, then `.env`.
"""

import os
import re
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import AliasChoices, BeforeValidator, DirectoryPath, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from core.limits.rate import Rate, parse_budget, parse_rate
from core.observability.formatters import LogFormat
from core.observability.logs import LogLevel
from core.observability.redaction import secrets_in
from core.observability.tracing import Tracing
from core.stores.redis_url import RedisServer, is_redis
from core.text.duration import parse_duration
from core.text.host_names import host_name
from core.text.masking import secrets_of
from core.text.secret_files import DIRECTORY_VARIABLES

Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
MIN_LEASE = timedelta(seconds=1)
"""Less is over before a worker that lives has come to renew it."""


def parse_retention(value: object) -> object:
    """`"90d"` -> 90 days, `off` -> None: for ever. Raises ValueError with the expected form."""
    return None if value in (None, "off") else parse_duration(value)


Retention = Annotated[timedelta | None, NoDecode, BeforeValidator(parse_retention)]
# NoDecode: the environment's text is for parse_rate, not JSON. None, written `off`: no limit.
Limit = Annotated[Rate | None, NoDecode, BeforeValidator(parse_rate)]
Budget = Annotated[Rate | None, NoDecode, BeforeValidator(parse_budget)]


def parse_count(value: object) -> object:
    """`"20"` -> 20, `off` -> None. Raises ValueError for what is neither."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text == "off":
        return None
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a number from 1 to 999999999; write one, or off")
    return int(text)


# None, written `off`: any number.
Count = Annotated[int | None, NoDecode, BeforeValidator(parse_count)]


def parse_origins(value: object) -> object:
    """`"https://a.example, https://b.example"` -> both, as browsers write them in `Origin`.

    Raises ValueError for anything else, `*` above all: an origin that may send credentials is named.
    """
    if not isinstance(value, str):
        return value
    origins = tuple(origin.strip() for origin in value.split(",") if origin.strip())
    for origin in origins:
        if not re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?", origin):
            raise ValueError(
                f"{origin!r} is not an origin; write scheme and host without a path: https://chat.example"
            )
    return origins


def parse_server(value: object) -> object:
    """The URL of a server whose word is taken on who people are. Raises ValueError when others could speak for it."""
    if isinstance(value, str) and not re.match(r"https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]", value):
        raise ValueError(f"{value!r} is not safe to ask who people are; write an https:// address")
    return value


Server = Annotated[str | None, BeforeValidator(parse_server)]


def parse_hosts(value: object) -> object:
    """`"chat.example, 192.0.2.7"` -> both, in lower case. Raises ValueError for what is no host's name or address."""
    if not isinstance(value, str):
        return value
    written = [host.strip() for host in value.split(",") if host.strip()]
    names = [host_name(host) for host in written]
    for host, name in zip(written, names, strict=True):
        if name is None or re.search(r":\d*$", host.rpartition("]")[2]):
            raise ValueError(f"{host!r} is not a host; write its name without scheme, port and path: chat.example")
    return tuple(names)


def parse_root_path(value: object) -> object:
    """`"/assistant/"` -> `/assistant`, `"/"` -> nothing. Raises ValueError for what is no path of plain words."""
    if not isinstance(value, str):
        return value
    path = value.strip().rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}){0,8}", path, re.ASCII):
        raise ValueError(f"{value!r} is not a path; begin it with a slash, without host and query: /assistant")
    return path


def checked_users(value: object) -> object:
    """`"operator:a long password"`, the only form that a browser can send. Raises ValueError for another."""
    if isinstance(value, str) and not all(re.fullmatch(r"[^:\s]+:\S.*", each) for each in value.split(",")):
        raise ValueError("it is not user:password; separate several by commas")
    return value


def checked_redis(url: object) -> object:
    """The URL, if it is one of a Redis server. Raises ValueError with what is wrong, and without its password."""
    if isinstance(url, str):
        RedisServer.parse(url)
    return url


def checked_broker(url: object) -> object:
    """The URL of a broker, checked when it is a Redis. Raises ValueError with what is wrong, without its password."""
    if isinstance(url, str) and "://" not in url:
        raise ValueError("it has no scheme; write redis://host:6379/0, or amqp://user:password@host:5672//")
    return checked_redis(url) if isinstance(url, str) and is_redis(url) else url


def is_amqp(url: str) -> bool:
    """Whether the URL is one of an AMQP broker, such as RabbitMQ."""
    return url.partition("://")[0] in ("amqp", "amqps")


DATABASES = {"sqlite": {"pysqlite"}, "postgresql": {"psycopg"}, "postgres": {"psycopg"}}
"""What a database's URL may begin with, and the driver that may follow a +."""


def checked_database(url: object) -> object:
    """The URL, if it is one of a database that is supported. Raises ValueError with what is wrong, without its
    password."""
    if not isinstance(url, str):
        return url
    backend, _, driver = url.partition(":")[0].partition("+")
    if "://" not in url or backend not in DATABASES:
        raise ValueError("it is none of postgresql://user:password@host/name and sqlite:////path/to/file")
    if driver and driver not in DATABASES[backend]:
        (right,) = DATABASES[backend]
        raise ValueError(f"the driver {driver[:40]!r} is not used here; write {backend}+{right}://, or {backend}://")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018
    except ValueError:  # whose message quotes the URL
        raise ValueError(
            "it can't be taken apart; is the port a number, and in the password / written %2F, @ %40, # %23? (Several"
            " hosts are written ?host=one:5432&host=two:5432, with none before the /.)"
        ) from None
    if dict(parse_qsl(parts.query)).get("pooler", "transaction") != "transaction":
        raise ValueError("its pooler is not `transaction`; leave that out for a direct connection")
    return url


def parse_name(value: object) -> object:
    """`" INFO "` -> `"info"`: a choice, in any case."""
    return value.strip().lower() if isinstance(value, str) else value


def _named(name: str) -> AliasChoices:
    """The option's name in the environment, beside its field name in code."""
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """One process's options. Frozen: a process that wants others makes another object."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # URLs with passwords among them
    )

    secrets_dir: DirectoryPath | None = Field(None, validation_alias=_named("SWITCHBOARD_SECRETS_DIR"))
    """Where files hold what is not to be in the environment, each with the name of its variable. Where it is not set,
    that is the directory that systemd names."""

    host: str = Field("127.0.0.1", validation_alias=_named("SWITCHBOARD_HOST"))
    port: int = Field(8000, ge=1, le=65535, validation_alias=_named("PORT"))
    flower_port: int = Field(5555, ge=1, le=65535, validation_alias=_named("FLOWER_PORT"))

    flower_address: str = Field("127.0.0.1", validation_alias=_named("FLOWER_ADDRESS"))
    """Where Flower listens. Elsewhere than on loopback it wants a password."""
    flower_url_prefix: Annotated[str, BeforeValidator(parse_root_path)] = Field(
        "", validation_alias=_named("FLOWER_URL_PREFIX")
    )
    """The path below which a proxy serves Flower."""
    flower_basic_auth: Annotated[SecretStr | None, BeforeValidator(checked_users)] = Field(
        None, validation_alias=_named("FLOWER_BASIC_AUTH")
    )
    """Who may see Flower: `user:password`, several separated by commas. Without it, whoever reaches its port."""

    state_dir: Path = Field(Path(".switchboard"), validation_alias=_named("SWITCHBOARD_STATE_DIR"))
    configured_database_url: Annotated[str | None, BeforeValidator(checked_database)] = Field(
        None, repr=False, validation_alias=_named("DATABASE_URL")
    )
    configured_redis_url: Annotated[str | None, BeforeValidator(checked_redis)] = Field(
        None, repr=False, validation_alias=_named("REDIS_URL")
    )
    configured_broker_url: Annotated[str | None, BeforeValidator(checked_broker)] = Field(
        None, repr=False, validation_alias=_named("BROKER_URL")
    )
    queue_type: Literal["classic", "quorum"] = Field("classic", validation_alias=_named("SWITCHBOARD_QUEUE_TYPE"))
    """What RabbitMQ keeps messages in: on one node, or on most of a cluster's."""
    database_pool_web: int = Field(10, ge=1, le=500, validation_alias=_named("SWITCHBOARD_DATABASE_POOL_WEB"))
    """Connections to the database that a web process keeps; it makes up to twice as many."""
    database_pool_worker: int = Field(10, ge=1, le=500, validation_alias=_named("SWITCHBOARD_DATABASE_POOL_WORKER"))
    """The same for a worker process."""
    models_path: Path = Field(Path("models.toml"), validation_alias=_named("SWITCHBOARD_MODELS"))
    model_url: str = Field("http://127.0.0.1:8081/v1", validation_alias=_named("SWITCHBOARD_MODEL_URL"))
    """Where the local model server listens; `switchboard up` picks a free port and sets it."""
    model_key: SecretStr | None = Field(None, validation_alias=_named("SWITCHBOARD_MODEL_KEY"))
    """What the local model server wants to be shown; `switchboard up` makes another one for each run."""

    hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_hosts)] = Field(
        (), validation_alias=_named("SWITCHBOARD_HOSTS")
    )
    """The names under which people reach the server, separated by commas, beside this machine's own."""

    root_path: Annotated[str, BeforeValidator(parse_root_path)] = Field(
        "", validation_alias=_named("SWITCHBOARD_ROOT_PATH")
    )
    """The path below which a proxy serves the application, when the site is not its own."""

    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_origins)] = Field(
        (), validation_alias=_named("SWITCHBOARD_CORS_ORIGINS")
    )
    """Other sites whose pages may use the API with their visitors' cookies, separated by commas. None by default."""

    auto_create: Literal["on_message", "on_stream", "never"] = Field(
        "on_message", validation_alias=_named("SWITCHBOARD_AUTO_CREATE")
    )
    anonymous_idle: Duration = Field(timedelta(minutes=30), validation_alias=_named("SWITCHBOARD_ANONYMOUS_IDLE"))
    anonymous_max: Duration = Field(timedelta(hours=24), validation_alias=_named("SWITCHBOARD_ANONYMOUS_MAX"))
    user_idle: Duration = Field(timedelta(days=14), validation_alias=_named("SWITCHBOARD_USER_IDLE"))
    user_max: Duration = Field(timedelta(days=90), validation_alias=_named("SWITCHBOARD_USER_MAX"))

    registration: Literal["open", "closed"] = Field("open", validation_alias=_named("SWITCHBOARD_REGISTRATION"))
    """Whether people may make accounts for themselves. Those whom the OIDC issuer names may in any case."""
    oidc_issuer: Server = Field(None, max_length=255, validation_alias=_named("SWITCHBOARD_OIDC_ISSUER"))
    """The identity provider, in the spelling of its tokens' `iss`."""
    oidc_audience: str | None = Field(None, validation_alias=_named("SWITCHBOARD_OIDC_AUDIENCE"))
    """What the `aud` of bearer tokens must name; without it none is taken."""
    oidc_jwks_url: Server = Field(None, validation_alias=_named("SWITCHBOARD_OIDC_JWKS_URL"))
    """Where the issuer's keys are; otherwise its metadata says."""
    oidc_client_id: str | None = Field(None, validation_alias=_named("SWITCHBOARD_OIDC_CLIENT_ID"))
    """What the issuer calls us; with it, browsers can log in through the issuer."""
    oidc_client_secret: SecretStr | None = Field(None, validation_alias=_named("SWITCHBOARD_OIDC_CLIENT_SECRET"))

    sweep_every: Duration = Field(timedelta(seconds=60), validation_alias=_named("SWITCHBOARD_SWEEP_EVERY"))
    audit_retention: Retention = Field(timedelta(days=365), validation_alias=_named("SWITCHBOARD_AUDIT_RETENTION"))
    """How long the audit log keeps an event; None: for ever."""
    lease: Duration = Field(
        timedelta(seconds=10), ge=MIN_LEASE, le=timedelta(hours=1), validation_alias=_named("SWITCHBOARD_LEASE")
    )
    """How long a silent worker keeps a generation."""
    reply_wait: Duration = Field(
        timedelta(seconds=2), le=timedelta(minutes=1), validation_alias=_named("SWITCHBOARD_REPLY_WAIT")
    )
    """How long a request waits for a worker's reply before it answers 202."""

    limit_create: Limit = Field(parse_rate("20/h:5"), validation_alias=_named("SWITCHBOARD_LIMIT_CREATE"))
    """Creations of anonymous sessions per address, IPv6 by /64; wider networks get 4 and 16 times as many."""
    limit_create_global: Limit = Field(
        parse_rate("5000/h:500"), validation_alias=_named("SWITCHBOARD_LIMIT_CREATE_GLOBAL")
    )
    """Creations of anonymous sessions by all addresses together."""
    limit_create_user: Limit = Field(
        parse_rate("300/h:100"), validation_alias=_named("SWITCHBOARD_LIMIT_CREATE_USER")
    )
    """Creations of sessions per user."""
    sessions_per_user: int = Field(1000, ge=1, validation_alias=_named("SWITCHBOARD_SESSIONS_PER_USER"))
    """How many living sessions one user may have, made or claimed."""
    limit_changes: Limit = Field(parse_rate("300/m"), validation_alias=_named("SWITCHBOARD_LIMIT_CHANGES"))
    """Changes per session owner, each kind by itself: switches of the model, refreshes, renames, openings, claims,
    stops, and new API keys. No person comes near it; a race of a hundred clients for one session may."""
    limit_export: Limit = Field(parse_rate("60/m:20"), validation_alias=_named("SWITCHBOARD_LIMIT_EXPORT"))
    """Exports per session owner: the one answer without a bound on its size."""
    limit_read: Limit = Field(parse_rate("600/m:120"), validation_alias=_named("SWITCHBOARD_LIMIT_READ"))
    """Pages of messages per session owner. A browser reads one after each answer, and one more for each step back."""
    limit_idempotency: Limit = Field(
        parse_rate("10000/d:300"), validation_alias=_named("SWITCHBOARD_LIMIT_IDEMPOTENCY")
    )
    """Requests with a new idempotency key, per user, guest's session or address. Each leaves a record of about 1 kB
    for a day: at most so many, and a burst, are kept for one owner."""
    limit_messages_anonymous: Limit = Field(
        parse_rate("15/m"), validation_alias=_named("SWITCHBOARD_LIMIT_MESSAGES_ANONYMOUS")
    )
    limit_messages_user: Limit = Field(parse_rate("60/m"), validation_alias=_named("SWITCHBOARD_LIMIT_MESSAGES_USER"))
    limit_tokens_anonymous: Limit = Field(
        parse_rate("500000/d"), validation_alias=_named("SWITCHBOARD_LIMIT_TOKENS_ANONYMOUS")
    )
    """Tokens per session owner, of questions with their history and of answers."""
    limit_tokens_user: Limit = Field(
        parse_rate("5000000/d"), validation_alias=_named("SWITCHBOARD_LIMIT_TOKENS_USER")
    )
    limit_cost_anonymous: Budget = Field(None, validation_alias=_named("SWITCHBOARD_LIMIT_COST_ANONYMOUS"))
    """Money per session owner, by the models' prices, in the currency of `models.toml`."""
    limit_cost_user: Budget = Field(None, validation_alias=_named("SWITCHBOARD_LIMIT_COST_USER"))
    limit_login: Limit = Field(parse_rate("10/5m"), validation_alias=_named("SWITCHBOARD_LIMIT_LOGIN"))
    """Attempts to log in, per account and per address."""
    concurrent_anonymous: int = Field(1, ge=1, validation_alias=_named("SWITCHBOARD_CONCURRENT_ANONYMOUS"))
    """Live generations of one owner; an anonymous session is its own."""
    concurrent_user: int = Field(2, ge=1, validation_alias=_named("SWITCHBOARD_CONCURRENT_USER"))
    streams_session: Count = Field(20, validation_alias=_named("SWITCHBOARD_STREAMS_SESSION"))
    """Event streams of one session that are open at once: each tab has one, and one that has just been lost is still
    counted for a moment."""
    streams_user: Count = Field(50, validation_alias=_named("SWITCHBOARD_STREAMS_USER"))
    """Open event streams of one user, over all their sessions."""
    streams_address: Count = Field(500, validation_alias=_named("SWITCHBOARD_STREAMS_ADDRESS"))
    """Open event streams of one address, IPv6 by /64, which may be an office's; wider networks get 4 and 16 times as
    many."""
    trusted_proxies: int = Field(0, ge=0, le=16, validation_alias=_named("SWITCHBOARD_TRUSTED_PROXIES"))
    """How many proxies, all the operator's own, stand one behind the other before the server."""
    metrics_token: SecretStr | None = Field(None, min_length=1, validation_alias=_named("SWITCHBOARD_METRICS_TOKEN"))
    """The secret that opens /metrics to requests from other machines."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the strongest first."""
        named = [
            source.env_vars[name.lower()]
            for source in (env_settings, dotenv_settings)
            for name in DIRECTORY_VARIABLES
            if isinstance(source, EnvSettingsSource) and source.env_vars.get(name.lower())
        ]
        # One that is no directory is left to the option's own check.
        if named and Path(named[0] or "").is_dir():
            file_secret_settings = SecretsSettingsSource(settings_cls, named[0])
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    @field_validator("queue_type")
    @classmethod
    def _check_queue_type(cls, value: str, info: ValidationInfo) -> str:
        if value == "quorum" and not is_amqp(info.data.get("configured_broker_url") or ""):
            raise ValueError("quorum queues are RabbitMQ's; set BROKER_URL to amqp://..., or leave this out")
        return value

    log_level: Annotated[LogLevel, BeforeValidator(parse_name)] = Field(
        "warning", validation_alias=_named("SWITCHBOARD_LOG_LEVEL")
    )
    """From which level on lines are logged: `debug`, `info`, `warning`, `error` or `critical`."""
    log_format: Annotated[LogFormat, BeforeValidator(parse_name)] = Field(
        "text", validation_alias=_named("SWITCHBOARD_LOG_FORMAT")
    )
    """`text`, or `json`: one object a line."""
    tracing: Annotated[Tracing, BeforeValidator(parse_name)] = Field(
        "off", validation_alias=_named("SWITCHBOARD_TRACING")
    )
    """`off`, or `otlp`: traces by OpenTelemetry, whose own variables say where to."""

    @property
    def secrets(self) -> set[str]:
        """What no log may show: the passwords in URLs, the keys and tokens, and what the environment has of them."""
        held = (self.model_key, self.oidc_client_secret, self.metrics_token, self.flower_basic_auth)
        urls = (self.database_url, self.redis_url, self.broker_url, self.configured_redis_url, self.model_url)
        known = {secret.get_secret_value() for secret in held if secret}
        return known.union(secrets_in(os.environ), *(secrets_of(url) for url in urls if url))

    @property
    def oidc_login(self) -> bool:
        """Whether browsers can log in through the issuer."""
        return self.oidc_issuer is not None and self.oidc_client_id is not None

    @property
    def reap_every(self) -> timedelta:
        """The period of the reaper: a takeover is to wait for little more than the lease."""
        return max(timedelta(seconds=1), self.lease / 2)

    @cached_property
    def database_url(self) -> str:
        """The configured database, or SQLite in the state directory."""
        url = self.configured_database_url or _sqlite_url(self.state_dir / "switchboard.db")
        # Hosting platforms hand out the bare scheme, which SQLAlchemy would read as psycopg2.
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)

    @cached_property
    def redis_url(self) -> str:
        """The configured Redis, or the usual local one, in redis-py's spelling. `switchboard up` sets it for its
        children."""
        return RedisServer.parse(self.configured_redis_url or "redis://").redis_url

    @property
    def broker_variable(self) -> str:
        """The environment variable that names the broker."""
        return "REDIS_URL" if self.configured_broker_url is None else "BROKER_URL"

    @cached_property
    def broker_url(self) -> str:
        """The configured broker, or Redis, in kombu's spelling."""
        url = self.configured_broker_url or self.configured_redis_url or "redis://"
        return RedisServer.parse(url).broker_url if is_redis(url) else url


def _sqlite_url(path: Path) -> str:
    # Quoted: a directory may be called what in a URL means something else. By hand, since SQLAlchemy would take 11 MB
    # of every process that knows the settings, also where no database is asked.
    return f"sqlite:///{quote(str(path.absolute()), safe=' +/')}"
