"""Settings and models, read for a command: what is wrong with them becomes one line."""

from collections.abc import Mapping
from typing import Any

from cli.console import fail
from core import settings as configured
from core.llm.catalog import ModelCatalog, ModelConfigError, load_catalog
from core.settings import Settings


def read_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings of the environment and `.env`; `overrides`, by field name, come before both.

    Raises CommandError that names the environment variable and what it may be.
    """
    try:
        return configured.read_settings(overrides)
    except configured.SettingsError as error:
        fail(str(error))


def read_catalog(settings: Settings) -> ModelCatalog:
    """The models on offer. Raises CommandError that names the file, the table and the key."""
    try:
        return load_catalog(settings.models_path)
    except ModelConfigError as error:
        fail(str(error))
