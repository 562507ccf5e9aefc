"""`switchboard models`: models.toml, checked and shown."""

import asyncio
import time
from importlib import metadata
from typing import NamedTuple

import click
from dotenv import load_dotenv

from cli.advice import advised, explained
from cli.configuration import read_catalog, read_settings
from cli.console import fail, table
from cli.supervision.state_directory import StateDirectory
from core.llm.client_pool import ClientPool
from core.llm.model_config import ModelConfig
from core.llm.probe import short_answer
from core.llm.providers.base import ErrorKind, ProviderError
from core.settings import Settings
from core.text.masking import masked
from core.text.secret_files import has_secret

CHECK_TIMEOUT = 30.0
"""Seconds that each model has for its answer; all are asked at once."""


def show_models(check: bool) -> None:
    """Print the models on offer and, with `check`, whether each answers a request.

    Raises CommandError when the file is wrong, or when a model was asked and did not answer.
    """
    settings = read_settings()
    catalog = read_catalog(settings)
    read_keys()
    rows: list[tuple[str, ...]] = [
        ("NAME", "LABEL", "PROVIDER", "SERVER", "CONTEXT", f"{catalog.currency}/M", "API KEY")
    ]
    for name, model in catalog.models.items():
        mark = f"{name} (default)" if name == catalog.default else name
        server = _local(model.weights) if model.weights else masked(str(model.base_url))
        rows.append(
            (mark, model.label, model.provider, server, str(model.context_tokens), _price(model), _api_key(model))
        )
    if not check:
        _print(rows)
        return
    checked = ask_all(ClientPool(catalog, *local_server(settings)))
    answers = ["ANSWERS", *map(str, checked.values())]
    _print([(*row, answer) for row, answer in zip(rows, answers, strict=True)])
    failed = {name: found.error for name, found in checked.items() if found.error is not None}
    for name, error in failed.items():
        model = catalog.models[name]
        click.echo(f"\n{name}: {explained(error, model)}")
        click.echo(f"  {advised(error, model)}")
    if failed:
        fail(f"{len(failed)} of {len(checked)} models did not answer: {', '.join(failed)}")


def _price(model: ModelConfig) -> str:
    """Of a million tokens of the prompt, and of the answer."""
    return "-" if model.input_price is None else f"{model.input_price:f} + {model.output_price:f}"


class Answer(NamedTuple):
    """What has come of asking a model."""

    seconds: float
    error: ProviderError | None

    def __str__(self) -> str:
        return "no" if self.error else f"in {self.seconds * 1000:.0f} ms"


def ask_all(pool: ClientPool) -> dict[str, Answer]:
    """For each model, in their order, what comes of asking it for one token."""

    async def ask() -> list[Answer]:
        return await asyncio.gather(*(_ask(pool, name) for name in pool.names))

    return dict(zip(pool.names, asyncio.run(ask()), strict=True))


async def _ask(pool: ClientPool, name: str) -> Answer:
    began, error = time.monotonic(), None
    try:
        stream = pool.probe(name)
        began = time.monotonic()  # the client stands
        await short_answer(stream, min(CHECK_TIMEOUT, pool.config(name).first_token_timeout))
    except ProviderError as raised:
        error = raised
    except Exception as raised:  # in the making of a client, as of what the environment says
        error = ProviderError(ErrorKind.MISCONFIGURED, type(raised).__name__)
    return Answer(time.monotonic() - began, error)


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


def read_keys() -> None:
    """Take the keys from `.env` where the environment has none, as `switchboard up` does."""
    load_dotenv(".env", override=False)


def _print(rows: list[tuple[str, ...]]) -> None:
    for line in table(rows):
        click.echo(line)


def _local(weights: str) -> str:
    try:
        metadata.version(weights)
    except metadata.PackageNotFoundError:
        return f"local, {weights} (not installed)"
    return f"local, {weights}"


def _api_key(model: ModelConfig) -> str:
    if model.weights:
        return "the system's own"
    if model.api_key_env is None:
        return "none needed"
    return f"{model.api_key_env} is {'set' if has_secret(model.api_key_env) else 'not set'}"
