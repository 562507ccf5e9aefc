"""`switchboard models --check`: real requests to servers that answer, refuse, hang or are not there."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.advice import ADVICE, advice, advised, explained, explanation
from cli.main import main
from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError
from tests.support.provider import Handler, Manner, ProviderServer, in_turn, nowhere

KEY = "sk-hunter2hunter2"


def _good(name: str, base_url: str, *, patience: float = 60, **more: str) -> str:
    extra = "\n".join(f'{key} = "{value}"' for key, value in more.items())
    return f"""
[models.{name}]
label = "{name}"
provider = "openai"
base_url = "{base_url}"
model = "{name}"
first_token_timeout = {patience}
{extra}
"""


def _never(manners: ProviderServer) -> Manner:
    return in_turn(lambda _: manners.go_on.wait(60))


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    made = ProviderServer()
    made.manners["hangs"] = _never(made)
    yield made
    made.stop()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Run":
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("A_KEY", raising=False)
    monkeypatch.setattr("cli.models.CHECK_TIMEOUT", 2.0)
    return Run(tmp_path, monkeypatch)


class Run:
    """The command over the given tables, in an empty directory."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = directory / "models.toml"
        self.dotenv = directory / ".env"
        self.environment = monkeypatch
        monkeypatch.setenv("SWITCHBOARD_MODELS", str(self._path))

    def __call__(self, default: str, *tables: str, check: bool = True) -> Result:
        self._path.write_text("\n".join([f'default = "{default}"', *tables]))
        return CliRunner().invoke(main, ["models", *(["--check"] if check else [])])


def test_who_answers_and_who_does_not_and_why(run: Run, server: ProviderServer) -> None:
    run.environment.setenv("A_KEY", KEY)
    tables = [_good(name, server.url, api_key_env="A_KEY") for name in ("good", "unauthorized", "broken", "hangs")]
    gone = nowhere()
    began = time.monotonic()
    result = run("good", *tables, _good("away", gone), _good("keyless", server.url, api_key_env="NO_KEY"))
    assert time.monotonic() - began < 6
    assert result.exit_code == 1
    rows = {line.split()[0]: line for line in result.output.splitlines() if line and line[0] != " "}
    assert rows["good"].endswith(" ms")
    assert [name for name in ("unauthorized", "broken", "hangs", "away", "keyless") if rows[name].endswith("  no")]
    said = result.output
    assert f"unauthorized: {server.url} refused the key" in said
    assert "  Correct A_KEY" in said
    assert f"broken: {server.url} had an error of its own" in said
    assert f"hangs: {server.url} did not begin to answer in time: nothing within 2 s" in said
    assert f"away: {gone} can't be reached" in said
    assert "keyless: NO_KEY is not set\n  Set NO_KEY" in said
    assert "5 of 6 models did not answer: unauthorized, broken, hangs, away, keyless" in said
    assert KEY not in said
    assert "sk-secret" not in said
    asked = next(request for request in server.requests if request["model"] == "good")
    assert asked["max_tokens"] == 1
    assert "keyless" not in [request["model"] for request in server.requests]


def test_an_address_of_something_else_is_told_as_one(run: Run, server: ProviderServer) -> None:
    server.manners["elsewhere"] = lambda handler: handler.refuse(404, "page not found")
    said = run("elsewhere", _good("elsewhere", server.url)).output
    told = "api_error: page not found (HTTP 404)"
    assert f"elsewhere: {server.url} answers, but not as a model's server does: {told}" in said
    assert "Start that server" not in said


def test_a_model_that_never_says_a_word_does_not_answer(run: Run, server: ProviderServer) -> None:
    def ends(reason: str) -> Manner:
        def manner(handler: Handler) -> None:
            handler.begin()
            handler.conclude(reason)

        return manner

    def breaks_off(handler: Handler) -> None:
        handler.begin()
        handler.chunk("Hi")

    server.manners |= {reason: ends(reason) for reason in ("stop", "tool_calls", "content_filter", "length")}
    server.manners["breaks-off"] = breaks_off
    names = ("length", "stop", "tool_calls", "content_filter", "breaks-off")
    result = run("length", *(_good(name, server.url) for name in names))
    assert "4 of 5 models did not answer: stop, tool_calls, content_filter, breaks-off" in result.output
    assert "ended without a word, by its own account: tool_calls" in result.output


def test_a_table_with_less_patience_has_its_own(run: Run, server: ProviderServer) -> None:
    assert "nothing within 0.3 s" in run("hangs", _good("hangs", server.url, patience=0.3)).output


def test_secrets_of_an_address_are_not_shown(run: Run, server: ProviderServer) -> None:
    def tells_all(handler: Handler) -> None:
        handler.refuse(401, f"bad key in {handler.path}: hunter2")

    server.manners["tells-all"] = tells_all
    for address in (f"{server.url}?subscription-key=hunter2", server.url.replace("//", "//hunter2@")):
        output = run("tells-all", _good("tells-all", address)).output
        assert "refused the key" in output
        assert "hunter2" not in output


def test_weights_that_are_not_here_are_told(run: Run) -> None:
    table = _good("a", "http://x").replace('base_url = "http://x"', 'weights = "no-such-weights"')
    assert "local, no-such-weights (not installed)" in run("a", table, check=False).output


def test_when_all_answer_the_command_succeeds(run: Run, server: ProviderServer) -> None:
    result = run("good", _good("good", server.url))
    assert (result.exit_code, result.output.count("\n")) == (0, 2)
    assert len(server.requests) == 1


def test_without_check_nobody_is_asked(run: Run, server: ProviderServer) -> None:
    assert run("broken", _good("broken", server.url), check=False).exit_code == 0
    assert server.requests == []


def test_a_key_in_the_dot_env_is_used_as_up_does(run: Run, server: ProviderServer) -> None:
    run.environment.setenv("A_KEY", "")  # undone after the test, whatever is read meanwhile
    run.environment.delenv("A_KEY")
    run.dotenv.write_text(f"A_KEY={KEY}\n")
    result = run("good", _good("good", server.url, api_key_env="A_KEY"))
    assert result.exit_code == 0, result.output
    assert "A_KEY is set" in result.output
    assert server.requests[0]["authorization"] == f"Bearer {KEY}"


def test_a_password_in_an_address_is_not_shown(run: Run) -> None:
    secret = nowhere().replace("http://", "http://me:hunter2@")
    assert "hunter2" not in run("away", _good("away", secret)).output


def test_a_proxy_whose_address_is_wrong_is_told_and_stops_no_other_model(run: Run, server: ProviderServer) -> None:
    run.environment.setenv("ALL_PROXY", "gopher://me:hunter2@127.0.0.1:1")
    run.environment.setenv("NO_PROXY", "127.0.0.1")
    result = run("good", _good("good", server.url), _good("out-there", "http://models.example.org/v1"))
    assert result.exit_code == 1
    assert "out-there: no connection to http://models.example.org/v1 can be made" in result.output
    assert "hunter2" not in result.output


def test_help_says_that_it_costs_tokens() -> None:
    assert "Costs a few tokens" in CliRunner().invoke(main, ["models", "--help"]).output


class TestAdvice:
    MODEL = ModelConfig(
        label="GPT",
        provider="openai",
        model="gpt-5-mimi",
        base_url="https://api.openai.com/v1",  # type: ignore[arg-type]
        api_key_env="OPENAI_API_KEY",
    )

    def test_there_is_some_for_every_kind(self) -> None:
        assert set(ADVICE) == set(ErrorKind)
        for kind in ErrorKind:
            told = f"{explanation(kind, self.MODEL, '')} {advice(kind, self.MODEL)}"
            assert "{" not in told

    def test_it_names_what_is_to_be_corrected(self) -> None:
        assert advice(ErrorKind.UNAUTHORIZED, self.MODEL).startswith("Correct OPENAI_API_KEY")
        assert explanation(ErrorKind.MODEL_NOT_FOUND, self.MODEL, "") == (
            "https://api.openai.com/v1 knows no model gpt-5-mimi"
        )
        assert explanation(ErrorKind.MISSING_KEY, self.MODEL, "OPENAI_API_KEY is not set") == (
            "OPENAI_API_KEY is not set"
        )

    def test_the_providers_words_and_its_status_are_told(self) -> None:
        error = ProviderError(ErrorKind.QUOTA, "HTTP 429", provider_message="You exceeded your current quota.")
        assert explained(error, self.MODEL) == (
            "the quota at https://api.openai.com/v1 is used up: You exceeded your current quota. (HTTP 429)"
        )

    @pytest.mark.parametrize("status", [200, 302, 404, 405, 410])
    def test_a_server_that_was_reached_is_not_to_be_started(self, status: int) -> None:
        error = ProviderError(ErrorKind.UNREACHABLE, f"HTTP {status}", status=status)
        assert explained(error, self.MODEL) == (
            f"https://api.openai.com/v1 answers, but not as a model's server does: HTTP {status}"
        )
        assert advised(error, self.MODEL).startswith("Correct base_url")

    @pytest.mark.parametrize("status", [None, 521, 530])
    def test_one_that_was_not_is(self, status: int | None) -> None:
        error = ProviderError(ErrorKind.UNREACHABLE, status=status)
        assert explained(error, self.MODEL) == "https://api.openai.com/v1 can't be reached"
        assert advised(error, self.MODEL) == advice(error.kind, self.MODEL)

    @pytest.mark.parametrize(
        ("kind", "said", "remedy"),
        [
            (ErrorKind.REJECTED, "Unknown parameter: 'top_k'.", "Take top_k out of `extra_body`"),
            (ErrorKind.REJECTED, "reasoning.effort: 'huge' is not one of them", "Take effort out of `extra_body`"),
            (ErrorKind.REJECTED, "Unrecognized request argument supplied: `stop`", "Take stop out of `extra_body`"),
            (ErrorKind.REJECTED, "unknown field stop", "Take stop out of `extra_body`"),
            (ErrorKind.REJECTED, "The stream has to stop before it begins.", "Leave out or rename what it names"),
            (ErrorKind.REJECTED, "Unknown parameter: 'top_k2'.", "Leave out or rename what it names"),
            (ErrorKind.SERVER_ERROR, "top_k", "See that server's log"),
        ],
    )
    def test_what_only_extra_body_has_is_to_be_taken_out_there(self, kind: ErrorKind, said: str, remedy: str) -> None:
        extra = {"top_k": 5, "reasoning": {"effort": "huge"}, "stop": [{"x-y": 1}]}
        model = self.MODEL.model_copy(update={"extra_body": extra})
        assert advised(ProviderError(kind, provider_message=said), model).startswith(remedy)
        assert advised(ProviderError(kind, provider_message=said), self.MODEL) == advice(kind, self.MODEL)

    def test_a_providers_words_do_nothing_to_the_terminal(self) -> None:
        assert "\x1b" not in explanation(ErrorKind.QUOTA, self.MODEL, "\x1b[2Jgone\u202e\r\n")
