"""`models.toml`: the models on offer, read and checked as a whole before anything starts."""

import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError, model_validator

from core.llm.catalog_rules import ANTHROPIC_HOST, contradictions
from core.text.characters import one_line

ANTHROPIC = HttpUrl(f"https://{ANTHROPIC_HOST}")
"""Where Anthropic's own API is, for tables that name no other server."""
MAX_TIMEOUT = 3600
"""Seconds of any timeout."""
Seconds = Annotated[float, Field(gt=0, le=MAX_TIMEOUT)]
"""What is infinite is refused by the bound, whose words say what would be right."""


class ModelConfigError(Exception):
    """`models.toml` can't be used. The message names the file, the table and the key."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelConfig(_Table):
    """One `[models.NAME]` table. Timeouts are in seconds."""

    label: Annotated[str, Field(min_length=1)]
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
    connect_timeout: Seconds = 5.0
    first_token_timeout: Seconds = 300.0
    """For the first word of text that can be seen. Any sign of life begins it anew, thinking too."""
    between_tokens_timeout: Seconds = 60.0
    """For any sign of life after that word."""

    @model_validator(mode="before")
    @classmethod
    def _with_address(cls, table: Any) -> Any:
        at_home = isinstance(table, dict) and table.get("provider") == "anthropic" and "weights" not in table
        return {"base_url": str(ANTHROPIC), **table} if at_home else table


class ModelCatalog(_Table):
    """The whole file."""

    default: str
    system_prompt: str = ""
    models: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")], ModelConfig]

    @property
    def weights(self) -> str | None:
        """The package whose weights the local model server serves, or None when no model asks for one."""
        return next((model.weights for model in self.models.values() if model.weights), None)


def load_catalog(path: Path) -> ModelCatalog:
    """Read and check `models.toml`.

    Raises ModelConfigError: one line that names the file, the table and the key.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ModelConfigError(f"{path}: can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        catalog = ModelCatalog.model_validate(raw)
    except ValidationError as error:
        raise ModelConfigError(_first_complaint(path, error)) from error
    _check_references(path, catalog)
    return catalog


def _first_complaint(path: Path, error: ValidationError) -> str:
    # A key that is not known is often the one that is missing, with a slip in it.
    complaints = error.errors(include_url=False, include_input=False)
    first = min(complaints, key=lambda complaint: complaint["type"] != "extra_forbidden")
    location = [str(part) for part in first["loc"]]
    table = ".".join(location[:2]) if location[:1] == ["models"] else ""
    keys = location[2:] if table else location
    known = next((key for key in keys if key in RIGHT), "")
    key = known or ".".join(keys)
    where = one_line(f"[{table}] {key}"[:200] if table else key)
    return f"{path}: {where}: {RIGHT.get(known) or _right(first['type'], first['msg'], location)}"


def _right(kind: str, message: str, location: list[str]) -> str:
    """What would be right."""
    if kind == "url_scheme" or (kind == "url_parsing" and "without a base" in message):
        return "must be a URL that begins with http:// or https://"
    if kind != "extra_forbidden":
        unit = ", in seconds" if location[-1].endswith("_timeout") else ""
        return message.replace("a valid tuple", "a list") + unit
    table = ModelConfig if location[:1] == ["models"] else ModelCatalog
    return _unknown("key", location[-1], table.model_fields)


RIGHT = {
    "think_tags": 'must be true, false or "opened"',
    "weights": "must be the name of a Python package that holds a GGUF file",
    "[key]": "a table's name has letters, digits, `.`, `_` and `-`, at most 63",
}
"""For keys whose types have no words that help."""


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.7)
    return f"there is no such {what}" + (f"; did you mean {near[0]}?" if near else "")


def _check_references(path: Path, catalog: ModelCatalog) -> None:
    if catalog.default not in catalog.models:
        near = _unknown("table", catalog.default, catalog.models).partition(";")[2]
        raise ModelConfigError(f"{path}: default: there is no table [models.{catalog.default}]{near and ';' + near}")
    for name, model in catalog.models.items():
        table = f"{path}: [models.{name}]"
        if model.weights not in (None, catalog.weights):
            raise ModelConfigError(f"{table} weights: the local server serves one model, {catalog.weights}")
        for other in model.fallback:
            if other not in catalog.models or other == name:
                raise ModelConfigError(f"{table} fallback: {other!r} is not another model of this file")
        for key, complaint in contradictions(model):
            raise ModelConfigError(f"{table} {key}: {complaint}")
