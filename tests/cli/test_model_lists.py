"""What the doctor says about models: their servers' lists, missing keys, and what rests. No answer is asked for."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from uuid_utils.compat import uuid7

from cli.finding import Finding
from cli.main import main
from cli.model_lists import is_listed, listed_names, look_at_models, with_cooldown
from cli.models import LocalServer
from core.llm.catalog import ModelCatalog
from core.llm.cooldown import Cooldown, Cooldowns
from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError
from tests.support.provider import nowhere
from tests.support.valkey import Valkey

KEY = "sk-hunter2hunter2"


class ListServer:
    """A server that answers every GET the same, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.body, self.content_type = 200, b"", "application/json"
        self.asked: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(
                    {"path": self.path, **{name.lower(): value for name, value in self.headers.items()}}
                )
                self.send_response(server.status)
                self.send_header("Content-Type", server.content_type)
                self.send_header("Content-Length", str(len(server.body)))
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def lists(self, *names: str) -> None:
        """Answer with a list of these."""
        self.says({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    def says(self, document: Any, status: int = 200) -> None:
        """Answer with this JSON."""
        self.status, self.body = status, json.dumps(document).encode()

    def stop(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[ListServer]:
    made = ListServer()
    yield made
    made.stop()


def _look(url: str, model: str = "gpt-5-mini", provider: str = "openai", key_env: str | None = None) -> Finding:
    config = ModelConfig(
        label="A",
        provider=provider,  # type: ignore[arg-type]
        model=model,
        base_url=url,  # type: ignore[arg-type]
        api_key_env=key_env,
    )
    (finding,) = look_at_models(ModelCatalog(default="a", models={"a": config}), LocalServer("", ""))
    return finding


def test_a_model_that_is_listed_is_well(server: ListServer) -> None:
    server.lists("gpt-5", "gpt-5-mini")
    found = _look(f"{server.url}/v1")
    assert (found.mark, found.detail) == ("✓", "a: its server answers and lists it")
    assert [asked["path"] for asked in server.asked] == ["/v1/models"]


def test_a_name_that_is_not_listed_is_doubted_and_the_nearest_are_told(server: ListServer) -> None:
    server.lists("whisper-1", "gpt-5-mini", "gpt-5-nano", "dall-e-3")
    found = _look(server.url, "gpt-5-mimi")
    assert found.mark == "!"
    assert "does not list gpt-5-mimi; nearest: gpt-5-mini" in found.detail
    assert "whisper" not in found.detail
    assert "models --check" in found.remedy


def test_what_is_not_near_is_not_called_so(server: ListServer) -> None:
    server.lists("whisper-1", "dall-e-3", "tts-1", "babbage", "davinci")
    assert _look(server.url, "gpt-5").detail.endswith(
        "not list gpt-5; it lists whisper-1, dall-e-3, tts-1 and 2 more"
    )


def test_a_fact_is_told_once_and_one_that_is_new_beside_it() -> None:
    config = ModelConfig(label="A", provider="openai", model="m", base_url="http://x")  # type: ignore[arg-type]
    away = Finding("model", "a: http://x can't be reached: nothing listens there", "Start it.")
    rest = Cooldown(ErrorKind.UNREACHABLE, "ConnectError")
    assert with_cooldown("a", config, away, None) is away
    told = with_cooldown("a", config, away, rest)
    assert (told.detail, told.remedy) == ("a rests for all: http://x can't be reached: ConnectError", "Start it.")
    refused = Finding("model", "a: http://x refused the key", "Correct it.")
    told = with_cooldown("a", config, refused, rest)
    assert told.detail == "a rests for all: http://x can't be reached: ConnectError; now http://x refused the key"
    assert told.remedy == "Correct it."
    assert with_cooldown("a", config, Finding("model", "a: its server answers"), rest).fails


@pytest.mark.parametrize(
    "document", [{}, {"data": []}, [], "ok", {"data": {"id": 1}}, {"data": [1, None, {"id": 7}, {"id": ""}]}]
)
def test_what_is_no_list_says_nothing_about_names(server: ListServer, document: Any) -> None:
    server.says(document)
    assert _look(server.url).mark == "✓"


@pytest.mark.parametrize("body", [b"", b"<html>Welcome</html>", b"\xff\xfe", b"[" * 100_000, b'{"data": [' * 10])
def test_what_is_no_json_is_doubted(server: ListServer, body: bytes) -> None:
    server.body = body
    found = _look(server.url)
    assert (found.mark, "base_url" in found.remedy) == ("!", True)


def test_a_list_without_an_end_is_read_no_further(server: ListServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.model_lists.MAX_LIST_SIZE", 1000)
    server.lists(*(f"model-{number}" for number in range(1000)))
    assert _look(server.url).mark == "✓"


@pytest.mark.parametrize(
    ("model", "listed", "found"),
    [
        ("gemini-3-flash", ["models/gemini-3-flash"], True),
        ("llama3", ["llama3:latest"], True),
        ("llama3", ["llama3:70b"], False),
        ("openai/gpt-5:online", ["openai/gpt-5"], True),
        ("claude-haiku-4-5", ["claude-haiku-4-5-20251001"], True),
        ("gpt-4o", ["gpt-4o-2024-08-06"], True),
        ("mistral-large-latest", ["mistral-large"], True),
        ("gpt-5", ["gpt-5-mini"], False),
    ],
)
def test_names_that_servers_take_for_the_same(model: str, listed: list[str], found: bool) -> None:
    assert is_listed(model, listed) is found


def test_lists_of_the_usual_shapes() -> None:
    assert listed_names({"data": [{"id": "a"}]}) == ["a"]
    assert listed_names({"models": [{"name": "models/a"}]}) == ["models/a"]
    assert listed_names([{"id": "a"}, {"id": "b"}]) == ["a", "b"]


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": f"Incorrect API key provided: {KEY}.\nSee \x1b[31m your account", "code": "invalid"}},
        {"detail": f"Incorrect API key provided: {KEY}"},
        [{"error": {"message": f"Incorrect API key provided: {KEY}"}}],
        {"error": f"Incorrect API key provided: Bearer {KEY}"},
    ],
)
def test_a_refusal_is_told_in_the_servers_words_without_the_key(
    server: ListServer, monkeypatch: pytest.MonkeyPatch, document: Any
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    server.says(document, 401)
    found = _look(server.url, key_env="A_KEY")
    assert found.mark == "✗"
    assert f"{server.url} refused the key: " in found.detail
    assert found.detail.endswith("(HTTP 401)")
    assert "Incorrect API key provided: " in found.detail
    assert found.detail.isprintable()
    assert "hunter2" not in found.detail
    assert found.remedy.startswith("Correct A_KEY")
    assert server.asked[0]["authorization"] == f"Bearer {KEY}"


def test_words_are_bounded(server: ListServer) -> None:
    server.says({"error": {"message": "no " * 100_000}}, 503)
    found = _look(server.url)
    assert len(found.detail) < 500
    assert found.mark == "✗"


def test_a_server_without_a_list_is_doubted_only(server: ListServer) -> None:
    server.says({"error": "not found"}, 404)
    found = _look(server.url)
    assert (found.mark, "base_url" in found.remedy) == ("!", True)


def test_a_missing_key_is_named_and_nobody_is_asked(server: ListServer) -> None:
    found = _look(server.url, key_env="NO_SUCH_KEY")
    assert (found.mark, found.detail) == ("✗", "a: NO_SUCH_KEY is not set")
    assert server.asked == []


def test_anthropics_protocol_has_its_own_address(server: ListServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    server.lists("claude-haiku-4-5-20251001")
    assert _look(server.url, "claude-haiku-4-5", "anthropic", "A_KEY").mark == "✓"
    assert server.asked[0]["path"] == "/v1/models?limit=1000"
    assert server.asked[0]["x-api-key"] == KEY


@pytest.mark.parametrize(
    ("base", "provider", "asked"),
    [
        ("/v1/?api-version=1", "openai", "/v1/models?api-version=1"),
        ("/v1/chat/completions", "openai", "/v1/models"),
        ("/v1/messages", "anthropic", "/v1/models?limit=1000"),
        ("/a?b=c", "anthropic", "/a/v1/models?b=c&limit=1000"),
    ],
)
def test_the_list_is_beside_the_answers(server: ListServer, base: str, provider: str, asked: str) -> None:
    server.lists("gpt-5-mini")
    assert _look(server.url + base, provider=provider).mark == "✓"
    assert [request["path"] for request in server.asked] == [asked]


def test_secrets_of_an_address_are_not_told(server: ListServer) -> None:
    server.says({"error": {"message": "no such key: hunter2"}}, 401)
    for url in (f"{server.url}?auth=hunter2", server.url.replace("//", "//hunter2@"), f"{server.url}?hunter2"):
        assert "hunter2" not in _look(url).detail


def test_a_server_that_is_not_there(server: ListServer) -> None:
    gone = nowhere()
    found = _look(f"{gone}/v1")
    assert (found.mark, f"{gone}/v1 can't be reached" in found.detail) == ("✗", True)
    assert "base_url" in found.remedy


@pytest.mark.parametrize("variable", ["ALL_PROXY", "HTTP_PROXY"])
def test_a_proxy_whose_address_is_wrong_stops_no_other_check(
    server: ListServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "gopher://me:hunter2@127.0.0.1:1")
    found = _look("http://models.example.org/v1")
    assert found.mark == "✗"
    assert "hunter2" not in found.detail + found.remedy


def test_the_doctor_says_what_rests_and_the_providers_last_words(
    server: ListServer, own_valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lists("gpt-5-mini")
    path = tmp_path / "models.toml"
    path.write_text(f"""
default = "gpt"
[models.gpt]
label = "GPT"
provider = "openai"
base_url = "{server.url}/v1"
model = "gpt-5-mini"
""")
    client = own_valkey.client()
    quota = ProviderError(ErrorKind.QUOTA, "HTTP 429", provider_message="You exceeded your current quota.")
    Cooldowns(client).note_failure("gpt", quota, uuid7())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWITCHBOARD_MODELS", str(path))
    monkeypatch.setenv("REDIS_URL", own_valkey.url)
    before = len(server.asked)
    output = CliRunner().invoke(main, ["doctor"]).output
    assert output.count(" model ") == 1
    assert f"✗ model      gpt rests for all: the quota at {server.url}/v1 is used up: You exceeded" in output
    assert "your current quota; now its server answers and lists it" in output
    assert "Raise it, or pay, at the provider." in output
    assert len(server.asked) == before + 1
    Cooldowns(client).end("gpt")
    assert "rests" not in CliRunner().invoke(main, ["doctor"]).output
