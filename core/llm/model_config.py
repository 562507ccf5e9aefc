"""One `[models.NAME]` table of `models.toml`, with the types and defaults of its keys."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, model_validator

from core.llm.prices import FREE, Price

ANTHROPIC_HOST = "api.anthropic.com"
"""Of Anthropic's own API."""
ANTHROPIC = HttpUrl(f"https://{ANTHROPIC_HOST}")
"""Where Anthropic's own API is, for tables that name no other server."""
MAX_TIMEOUT = 3600
"""Seconds of any timeout."""
Seconds = Annotated[float, Field(gt=0, le=MAX_TIMEOUT)]
"""What is infinite is refused by the bound, whose words say what would be right."""


def _exact(value: object) -> object:
    """A number of TOML as it is written: the shortest text of a float is its digits."""
    return Decimal(str(value)) if type(value) in (int, float) else value


Money = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=100_000, decimal_places=6)]
"""Units of the file's currency."""


class Table(BaseModel):
    """A table of the file: nothing in it is left unread, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelConfig(Table):
    """One `[models.NAME]` table. Timeouts are in seconds."""

    label: Annotated[str, Field(min_length=1, max_length=200)]
    provider: Literal["openai", "anthropic"]
    model: Annotated[str, Field(min_length=1)]
    """The name the server knows the model by."""
    base_url: Annotated[HttpUrl, Field(strict=False)] | None = None
    weights: Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?$")] | None = None
    """A Python package that carries a GGUF file, served by the local model server instead of `base_url`."""
    api_key_env: str | None = None
    context_tokens: Annotated[int, Field(ge=256, le=100_000_000)] = 8192
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """The longest answer; it is set aside from `context_tokens` when the history is fitted."""
    max_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 8
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    prefill: bool = False
    fallback: tuple[str, ...] = Field((), strict=False)
    reasoning_effort: str | None = None
    """What the server is asked for under this name: `low`, `medium`, `high`, or whatever it knows."""
    thinking_budget: Annotated[int, Field(ge=1)] | None = None
    """Tokens that the model may think for, besides the `max_tokens` of its answer."""
    think_tags: bool | Literal["opened"] = False
    """Whether the answer's text begins with its thinking in `<think>` tags; `opened`: the server's template has the
    first tag, and the text only the closing one."""
    omit: tuple[str, ...] = Field((), strict=False)
    """Parameters of a request that the server refuses: they are left out. `system`: the system prompt becomes part of
    the first question; `stream`: the answer comes as one document."""
    rename: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """Parameters that the server knows by another name."""
    extra_body: dict[str, Any] = {}
    """What each request has besides."""
    input_price: Money | None = None
    """For a million tokens of what the model is sent."""
    output_price: Money | None = None
    """For a million tokens of what it writes, its thinking included."""
    connect_timeout: Seconds = 5.0
    first_token_timeout: Seconds = 300.0
    """For the first word of text that can be seen. Any sign of life begins it anew, thinking too."""
    between_tokens_timeout: Seconds = 60.0
    """For any sign of life after that word."""

    send_traceparent: bool = False
    """Whether the server is told which trace a request is part of, where traces are taken."""

    @property
    def price(self) -> Price:
        """What its answers cost."""
        if self.input_price is None or self.output_price is None:
            return FREE
        return Price(self.input_price, self.output_price)

    @model_validator(mode="before")
    @classmethod
    def _with_address(cls, table: Any) -> Any:
        at_home = isinstance(table, dict) and table.get("provider") == "anthropic" and "weights" not in table
        return {"base_url": str(ANTHROPIC), **table} if at_home else table
