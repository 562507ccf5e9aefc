"""`switchboard models`: models.toml, checked and shown."""

import asyncio
import os
from typing import NamedTuple

import click
import httpx2

from cli.addresses import TIMEOUT, problem_at
from cli.configuration import read_catalog, read_settings
from cli.console import fail, table
from cli.state import StateDirectory
from core.model_config import ModelCatalog, ModelConfig
from core.providers import ProviderError
from core.providers.wire import api_key
from core.settings import Settings


def show_models(check: bool) -> None:
    """Print the models on offer and, with `check`, whether each server answers.

    Raises CommandError when the file is wrong, or when a server was asked and did not answer.
    """
    settings = read_settings()
    catalog = read_catalog(settings)
    rows: list[tuple[str, ...]] = [("NAME", "LABEL", "PROVIDER", "SERVER", "CONTEXT", "API KEY")]
    for name, model in catalog.models.items():
        mark = f"{name} (default)" if name == catalog.default else name
        server = f"local, {model.weights}" if model.base_url is None else str(model.base_url)
        rows.append((mark, model.label, model.provider, server, str(model.context_tokens), _api_key(model)))
    problems = asyncio.run(problems_of(catalog, local_server(settings))) if check else {}
    if check:
        rows = [(*rows[0], "ANSWERS")] + [
            (*row, "no" if problems[name] else "yes") for row, name in zip(rows[1:], catalog.models, strict=True)
        ]
    for line in table(rows):
        click.echo(line)
    failing = {problem for problem in problems.values() if problem}
    if failing:
        fail("; ".join(sorted(failing)))


class LocalServer(NamedTuple):
    """The local model server: where it listens, and its key."""

    url: str
    key: str


def local_server(settings: Settings) -> LocalServer:
    """The running system's, if one runs on this state directory, or the one that is configured."""
    running = StateDirectory(settings.state_dir).read_runtime()
    if running is not None:
        return LocalServer(running.model_url, running.model_key)
    return LocalServer(settings.model_url, settings.model_key.get_secret_value() if settings.model_key else "")


async def problems_of(catalog: ModelCatalog, server: LocalServer) -> dict[str, str | None]:
    """For each model, why its server does not answer, or None. All are asked at once."""
    async with (
        httpx2.AsyncClient(timeout=TIMEOUT) as remote,
        httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False) as local,
    ):
        asked = [_problem_of(remote if model.base_url else local, model, server) for model in catalog.models.values()]
        return dict(zip(catalog.models, await asyncio.gather(*asked), strict=True))


async def _problem_of(client: httpx2.AsyncClient, model: ModelConfig, server: LocalServer) -> str | None:
    try:
        key = api_key(model, server.key)
    except ProviderError as error:
        return error.log_detail
    url = f"{str(model.base_url or server.url).rstrip('/')}/models"
    headers = {"Authorization": f"Bearer {key}"}
    if model.provider == "anthropic":
        url = url.removesuffix("/models") + "/v1/models"
        headers |= {"X-Api-Key": key, "anthropic-version": "2026-10-21"}
    return await problem_at(client, url, headers=headers)


def _api_key(model: ModelConfig) -> str:
    if model.weights:
        return "the system's own"
    if model.api_key_env is None:
        return "none needed"
    return f"{model.api_key_env} is {'set' if os.environ.get(model.api_key_env) else 'not set'}"
