"""What a request has besides the conversation, against a server that refuses some of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.model_config import ModelConfig
from core.llm.providers.anthropic import Anthropic
from core.llm.providers.base import Chunk, ErrorKind, ProviderError, Sampling, Turn
from core.llm.providers.errors import complaint_of
from core.llm.providers.output_limit import LearnedLimits, output_limit
from core.llm.providers.parameters import Adjustment, refused
from tests.support.dialects import DIALECTS
from tests.support.provider import ANSWER, Handler, ProviderServer, pieces
from tests.support.reading import read

QUESTION = [Turn("user", "Why?")]
REFUSALS: dict[str, list[tuple[str, int, Any]]] = {}
"""What the server takes no more of, by the model's name: a parameter, and with which status and body it says so."""


def _strict(handler: Handler) -> None:
    asked = handler.owner.requests[-1]
    roles = [turn["role"] for turn in asked["messages"]]
    for parameter, status, body in REFUSALS[asked["model"]]:
        if parameter in asked or (parameter == "system" and "system" in roles):
            handler.head(status, "application/json")
            handler.say(json.dumps(body))
            return
    handler.begin()
    for piece in pieces(ANSWER):
        handler.chunk(piece)
    handler.conclude()


def _cool(handler: Handler) -> None:
    if handler.owner.requests[-1]["temperature"] > 1:
        handler.head(400, "application/json")
        handler.say(json.dumps(_openai("temperature: must be at most 1", "temperature")))
        return
    handler.begin()
    handler.chunk(ANSWER)
    handler.conclude()


def _breaks(handler: Handler) -> None:
    handler.begin()
    handler.chunk("Half an ")
    handler.say(
        handler.dialect.event(json.dumps({"error": {"message": "temperature is not supported", "code": 400}}))
    )


def _thinks(handler: Handler) -> None:
    handler.head()
    handler.say(handler.dialect.opening() + handler.dialect.thought("Hm."))
    handler.chunk(ANSWER)
    handler.conclude()


def _does_not_stream(handler: Handler) -> None:
    streams = handler.owner.requests[-1]["stream"]
    handler.head(400 if streams else 200, "application/json")
    told = _openai("Unsupported value: 'stream' does not support true with this model.", "stream")
    answer = {"choices": [{"index": 0, "message": {"content": ANSWER}, "finish_reason": "stop"}]}
    handler.say(json.dumps(told if streams else answer))


def _runs_out(handler: Handler) -> None:
    handler.begin()
    if "words" in handler.owner.requests[-1]["messages"][-1]["content"]:
        handler.chunk("Half an ")
    told = "Reached context length of 4096 tokens with a model that does not support mid-generation context overflow."
    handler.say(handler.dialect.event(json.dumps({"error": told})))


def _openai(message: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


RENAME = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) is supported."
)
MISTRAL = {
    "detail": [
        {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
    ]
}
REFUSALS.update(
    {
        "stream_options": [("stream_options", 422, MISTRAL)],
        "an argument": [("stream_options", 400, _openai("Unrecognized request argument supplied: stream_options"))],
        "renamed": [("max_tokens", 400, _openai(RENAME, "max_tokens"))],
        "renamed, in words": [("max_tokens", 400, {"message": RENAME})],
        "no limit": [("max_tokens", 400, {"error": "unknown field max_tokens"})],
        "temperature": [("temperature", 400, _openai(TEMPERATURE, "temperature"))],
        "effort": [("reasoning_effort", 400, _openai('Unknown name "reasoning_effort": Cannot find field.'))],
        "system": [("system", 400, {"error": "System role not supported"})],
        "system, 500": [("system", 500, {"error": {"message": "Jinja Exception: System role not supported"}})],
        "system, o1": [
            (
                "system",
                400,
                _openai("'messages[0].role' does not support 'system' with this model.", "messages[0].role"),
            )
        ],
        "two": [
            ("max_tokens", 400, _openai(RENAME, "max_tokens")),
            ("temperature", 400, _openai(TEMPERATURE, "temperature")),
        ],
        "always": [("messages", 400, _openai(TEMPERATURE, "temperature"))],
        "something else": [("messages", 400, _openai("The temperature of the sea is not known.", "messages"))],
        "too long": [("messages", 400, _openai("Please reduce the length of the messages or max_tokens"))],
        "broken": [("temperature", 500, _openai("temperature"))],
        "a filter": [("messages", 400, {"error": {"code": "content_filter", "message": "temperature"}})],
        "no room to finish": [
            ("messages", 400, _openai("Could not finish the message because max_tokens was reached."))
        ],
        "nothing": [],
        "thinking": [("thinking", 400, _openai("thinking: Extra inputs are not permitted"))],
        "required": [("max_tokens", 400, _openai("max_tokens: 9 > 8, which is the maximum"))],
    }
)


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """A strict server."""
    manners = {**dict.fromkeys(REFUSALS, _strict), "breaks": _breaks, "thinks": _thinks, "cool": _cool}
    manners |= {"does not stream": _does_not_stream, "runs out": _runs_out}
    strict = ProviderServer(manners)
    yield strict
    strict.stop()


class Asker:
    """Asks one model, and remembers what went over the wire."""

    def __init__(self, server: ProviderServer, model: str, protocol: str = "openai", **options: Any) -> None:
        where = {"provider": protocol, "base_url": server.base_url(protocol), "model": model}
        config = ModelConfig.model_validate({"label": "M", **where, **options})
        self._server = server
        self._pool = ClientPool(ModelCatalog(default="m", models={"m": config}), local_url="")

    def ask(
        self, turns: list[Turn] = QUESTION, temperature: float | None = None
    ) -> tuple[str, list[dict[str, Any]], ProviderError | None]:
        """The answer, what the server was asked for it, and the error."""
        before = len(self._server.requests)
        chunks: list[Chunk] = []
        error = None
        try:
            read(self._pool.open("m", turns, Sampling(temperature=temperature)), chunks.append)
        except ProviderError as failed:
            error = failed
        return "".join(chunk.text for chunk in chunks), self._server.requests[before:], error


@pytest.mark.parametrize(
    ("model", "parameter", "instead"),
    [
        ("stream_options", "stream_options", None),
        ("an argument", "stream_options", None),
        ("renamed", "max_tokens", "max_completion_tokens"),
        ("renamed, in words", "max_tokens", "max_completion_tokens"),
        ("no limit", "max_tokens", None),
        ("temperature", "temperature", None),
        ("effort", "reasoning_effort", None),
    ],
)
def test_what_is_refused_is_left_out_and_not_tried_again(
    server: ProviderServer, model: str, parameter: str, instead: str | None
) -> None:
    asker = Asker(server, model, temperature=0.5, reasoning_effort="low", max_tokens=100)
    text, asked, error = asker.ask()
    assert (text, error, len(asked)) == (ANSWER, None, 2)
    own = {"path", "authorization", "key", "traceparent"}
    assert asked[0].keys() - asked[1].keys() == {parameter}
    assert asked[1].keys() - asked[0].keys() - own == ({instead} if instead else set())
    if instead:
        assert asked[1][instead] == 100
    text, again, error = asker.ask()
    assert (text, error, again) == (ANSWER, None, [asked[1]])


def test_a_sessions_temperature_that_is_refused_costs_no_other_session_its_own(server: ProviderServer) -> None:
    """It may only be too high: the table's is asked for instead, and lower ones as before."""
    asker = Asker(server, "cool", temperature=0.5)
    sent = [[request.get("temperature") for request in asker.ask(temperature=each)[1]] for each in (2, 2, 1.5, 0.7)]
    assert sent == [[2, 0.5], [0.5], [1.5, 0.5], [0.7]]
    assert Asker(server, "cool", temperature=0.5).ask()[1][0]["temperature"] == 0.5
    strict = Asker(server, "temperature", temperature=0.5)
    assert [request.get("temperature") for request in strict.ask(temperature=1)[1]] == [1, 0.5, None]
    assert [request.get("temperature") for request in strict.ask()[1]] == [None]


def test_the_other_protocol_takes_no_more_than_1() -> None:
    config = ModelConfig.model_validate({"label": "M", "provider": "anthropic", "model": "m"})
    assert Anthropic(config, "").parameters(9, Sampling(temperature=1.7))["temperature"] == 1
    assert Anthropic(config, "").parameters(9, Sampling(temperature=0.0))["temperature"] == 0


def test_a_server_that_does_not_stream_is_asked_for_a_document(server: ProviderServer) -> None:
    asker = Asker(server, "does not stream")
    text, asked, error = asker.ask()
    assert (text, error, [request["stream"] for request in asked]) == (ANSWER, None, [True, False])
    assert [request["stream"] for request in asker.ask()[1]] == [False]
    told = Asker(server, "does not stream", omit=("stream",))
    assert [request["stream"] for request in told.ask()[1]] == [False]


def test_a_context_that_is_full_ends_an_answer_and_refuses_a_question(server: ProviderServer) -> None:
    text, _, error = Asker(server, "runs out").ask([Turn("user", "Some words.")])
    assert (text, error) == ("Half an ", None)
    _, _, error = Asker(server, "runs out").ask()
    assert error is not None
    assert error.kind is ErrorKind.TOO_LONG


def test_an_answer_that_ran_out_before_its_first_word_is_no_refusal(server: ProviderServer) -> None:
    asker = Asker(server, "no room to finish")
    text, asked, error = asker.ask()
    assert (text, error, len(asked)) == ("", None, 1)


SPELLINGS = [
    ("reasoning_effort", '"gemma3:4b" does not support thinking'),
    ("reasoning_effort", "Model grok-4 does not support parameter reasoningEffort."),
    ("reasoning_effort", "Thinking level is not supported for this model."),
    ("reasoning_effort", "Budget 0 is invalid. This model only works in thinking mode."),
    ("reasoning_effort", "Reasoning is mandatory for this endpoint and cannot be disabled."),
    ("reasoning_effort", "reasoning.effort: Extra inputs are not permitted"),
    ("stream_options", "include_usage is not supported"),
    ("stream_options", "Unknown parameter: streamOptions"),
    ("temperature", "`temperature` may only be set to 1 when thinking is enabled. Please consult our documentation"),
    (
        "thinking",
        '"thinking.type.enabled" is not supported. Use "thinking.type.adaptive" and "output_config.effort".',
    ),
    ("stream", "Unsupported value: 'stream' does not support true with this model. Supported values are: false."),
    ("", "Could not finish the message because max_tokens or model output limit was reached. Try higher max_tokens."),
    ("", "The stream of thought was lost."),
]


@pytest.mark.parametrize(("parameter", "message"), SPELLINGS)
def test_only_what_is_refused_is_dropped_however_it_is_spelt(parameter: str, message: str) -> None:
    openai = ("max_tokens", "stream", "stream_options", "temperature", "reasoning_effort")
    anthropic = ("stream", "temperature", "thinking", "output_config")
    sent = anthropic if "thinking." in message or "thinking is" in message else openai
    learned = refused(complaint_of({"error": {"message": message}}, 400), sent, Adjustment(), system=True)
    assert learned.omit == {parameter} - {""}
    assert not learned.rename


@pytest.mark.parametrize("param", ["stream_options", "streamOptions", "stream_options.include_usage", "None", ""])
def test_a_place_of_its_own_may_name_it_too_or_nothing(param: str) -> None:
    complaint = complaint_of({"error": {"message": "Unknown parameter: stream_options", "param": param}}, 400)
    learned = refused(complaint, ("max_tokens", "stream", "stream_options"), Adjustment(), system=True)
    assert learned.omit == {"stream_options"}


@pytest.mark.parametrize("model", ["system", "system, 500", "system, o1"])
def test_a_system_role_that_is_refused_becomes_part_of_the_question(server: ProviderServer, model: str) -> None:
    asker = Asker(server, model)
    turns = [Turn("system", "Be kind."), Turn("user", "Why?"), Turn("assistant", "So."), Turn("user", "Oh?")]
    text, asked, error = asker.ask(turns)
    assert (text, error, len(asked)) == (ANSWER, None, 2)
    assert [(turn["role"], turn["content"]) for turn in asked[1]["messages"]] == [
        ("user", "Be kind.\n\nWhy?"),
        ("assistant", "So."),
        ("user", "Oh?"),
    ]
    assert len(asker.ask(turns)[1]) == 1


def test_each_refusal_that_says_something_new_is_heeded(server: ProviderServer) -> None:
    asker = Asker(server, "two", temperature=0.5)
    text, asked, error = asker.ask()
    assert (text, error, len(asked)) == (ANSWER, None, 3)
    assert not {"max_tokens", "temperature"} & asked[-1].keys()
    assert len(asker.ask()[1]) == 1


@pytest.mark.parametrize(
    ("model", "requests", "kind"),
    [
        ("always", 2, ErrorKind.REJECTED),
        ("something else", 1, ErrorKind.REJECTED),
        ("too long", 1, ErrorKind.TOO_LONG),
        ("broken", 1, ErrorKind.SERVER_ERROR),
        ("a filter", 1, ErrorKind.FILTERED),
        ("breaks", 1, ErrorKind.REJECTED),
    ],
)
def test_what_is_no_refusal_of_a_parameter_is_told(
    server: ProviderServer, model: str, requests: int, kind: ErrorKind
) -> None:
    asker = Asker(server, model, temperature=0.5)
    _, asked, error = asker.ask()
    assert error is not None
    assert (len(asked), error.kind) == (requests, kind)
    assert "temperature" in asker.ask()[1][0], "nothing has been learned from it"


def test_a_table_says_what_to_leave_out_and_what_to_call_otherwise(server: ProviderServer) -> None:
    asker = Asker(
        server,
        "nothing",
        max_tokens=100,
        temperature=0.5,
        omit=("stream_options", "temperature", "system"),
        rename={"max_tokens": "max_new_tokens"},
        extra_body={"top_k": 5, "chat_template_kwargs": {"enable_thinking": False}},
    )
    text, [asked], _ = asker.ask([Turn("system", "Be kind."), *QUESTION])
    assert text == ANSWER
    assert asked.keys() - {"path", "authorization", "key", "traceparent"} == {
        "model",
        "messages",
        "stream",
        "max_new_tokens",
        "top_k",
        "chat_template_kwargs",
    }
    assert (asked["max_new_tokens"], asked["top_k"]) == (100, 5)
    assert asked["messages"] == [{"role": "user", "content": "Be kind.\n\nWhy?"}]


class TestThinking:
    """How long a model may think for, and how it is asked to."""

    def test_a_budget_is_not_taken_from_the_answer(self, server: ProviderServer) -> None:
        asker = Asker(server, "nothing", max_tokens=100, thinking_budget=2000, reasoning_effort="high")
        _, [asked], _ = asker.ask()
        assert (asked["max_tokens"], asked["reasoning_effort"]) == (2100, "high")
        assert "thinking" not in asked

    def test_anthropic_gets_its_own_form(self, server: ProviderServer) -> None:
        options = {"thinking_budget": 2000, "reasoning_effort": "low", "temperature": 0.5}
        _, [asked], _ = Asker(server, "nothing", "anthropic", max_tokens=100, **options).ask()
        assert asked["thinking"] == {"type": "enabled", "budget_tokens": 2000}
        assert (asked["max_tokens"], asked["output_config"]) == (2100, {"effort": "low"})
        assert not {"temperature", "reasoning_effort"} & asked.keys()

    def test_an_older_model_of_anthropics_goes_without(self, server: ProviderServer) -> None:
        text, asked, _ = Asker(server, "thinking", "anthropic", thinking_budget=2000).ask()
        assert (text, len(asked)) == (ANSWER, 2)
        assert "thinking" not in asked[1]

    def test_what_a_protocol_requires_is_never_left_out(self, server: ProviderServer) -> None:
        _, asked, error = Asker(server, "required", "anthropic").ask()
        assert [request["max_tokens"] for request in asked] == [1024, 8]
        assert error is not None
        assert "max_tokens: 9 > 8" in error.provider_message

    @pytest.mark.parametrize("protocol", list(DIALECTS))
    def test_a_model_that_was_seen_thinking_has_room_for_it(self, server: ProviderServer, protocol: str) -> None:
        asker = Asker(server, "thinks", protocol, max_tokens=100, context_tokens=8000)
        limits = [asker.ask()[1][0]["max_tokens"] for _ in range(3)]
        assert limits == [100, 2100, 2100]

    def test_the_allowance_is_bounded_and_leaves_the_question_its_room(self) -> None:
        table = {"label": "M", "provider": "openai", "model": "m", "base_url": "http://a", "max_tokens": 100}
        large = ModelConfig(context_tokens=100_000, **table)  # type: ignore[arg-type]
        small = ModelConfig(context_tokens=1000, **table)  # type: ignore[arg-type]
        assert output_limit(large, QUESTION, LearnedLimits(thinks=True)) == 100 + 8192
        assert output_limit(small, QUESTION, LearnedLimits(thinks=True)) == 100 + 250
        assert output_limit(small, [Turn("user", "x" * 2400)], LearnedLimits(thinks=True)) == 192
        assert output_limit(small, [Turn("user", "x" * 9000)], LearnedLimits(thinks=True)) == 100
