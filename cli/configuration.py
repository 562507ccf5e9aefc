"""Settings and models, read for a command: what is wrong with them becomes one line."""

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, ValidationError

from cli.console import fail
from core.llm.catalog import ModelCatalog, ModelConfigError, load_catalog
from core.settings import Settings
from core.text.masking import masked, without_secrets


def read_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings of the environment and `.env`; `overrides`, by field name, come before both.

    Raises CommandError that names the environment variable and what it may be.
    """
    try:
        return Settings(**(overrides or {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        value = str(first["input"])
        reason = without_secrets(first["msg"].removeprefix("Value error, "), value)
        fail(f"{variable_of(str(first['loc'][0]))}={masked(value)}: {reason}")


def read_catalog(settings: Settings) -> ModelCatalog:
    """The models on offer. Raises CommandError that names the file, the table and the key."""
    try:
        return load_catalog(settings.models_path)
    except ModelConfigError as error:
        fail(str(error))


def variable_of(option: str) -> str:
    """The environment variable that sets an option of Settings, given by its field name or its alias."""
    for name, field in Settings.model_fields.items():
        names = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else []
        if option in (name, *names):
            return str(names[0]) if names else name.upper()
    return option
