"""`models.toml`: the models on offer, read and checked as a whole before anything starts."""

import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from core.errors import ConfigurationError
from core.llm.catalog_rules import contradictions
from core.llm.model_config import ModelConfig, Table
from core.text.characters import one_line


class ModelConfigError(ConfigurationError):
    """`models.toml` can't be used. The message names the file, the table and the key."""


class ModelCatalog(Table):
    """The whole file."""

    default: str
    system_prompt: str = ""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """Of all prices and budgets: its code by ISO 4217."""
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


def require_catalog(path: Path) -> ModelCatalog:
    """What `load_catalog` returns, for a process that can't run without. Raises SystemExit with the line."""
    try:
        return load_catalog(path)
    except ModelConfigError as error:
        raise SystemExit(f"switchboard: {error}") from None


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
    "currency": "must be a code of three capital letters (ISO 4217), such as USD or EUR",
    "input_price": "must be what a million tokens cost, from 0 to 100000 with at most 6 decimals, such as 2.50",
    "output_price": "must be what a million tokens cost, from 0 to 100000 with at most 6 decimals, such as 10",
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
