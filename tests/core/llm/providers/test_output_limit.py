"""The limit of an answer, against servers whose context or whose answers are shorter than the model's table says."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, ProviderError, Turn
from core.llm.providers.errors import complaint_of
from core.llm.providers.output_limit import (
    LearnedLimits,
    limits_from_usage,
    output_limit,
    reduced_limit,
    without_output_tokens,
)
from tests.support.provider import ANSWER, Handler, ProviderServer
from tests.support.reading import read_text

Refusal = Callable[[int, int, int], str | None]
"""What a server says to so many tokens of a prompt, so many of an answer, and the greatest number."""


def _vllm(prompt: int, answer: int, most: int) -> str | None:
    return (
        f"'max_tokens' or 'max_completion_tokens' is too large: {answer}. This model's maximum context length is "
        f"{most} tokens and your request has {prompt} input tokens ({answer} > {most} - {prompt})."
        if prompt + answer > most
        else None
    )


def _at_least(prompt: int, answer: int, most: int) -> str | None:
    return (
        f"This model's maximum context length is {most} tokens. However, you requested {answer} output tokens and "
        f"your prompt contains at least {most - answer + 1} input tokens, for a total of at least {most + 1} tokens."
        if prompt + answer > most
        else None
    )


def _anthropic(prompt: int, answer: int, most: int) -> str | None:
    told = f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {most}, decrease input length"
    return told if prompt + answer > most else None


def _tpm(prompt: int, answer: int, most: int) -> str | None:
    told = (
        f"Request too large on tokens per minute (TPM): Limit {most}, Requested {prompt + answer}, please reduce it"
    )
    return told if prompt + answer > most else None


def _groq_tpm(prompt: int, answer: int, most: int) -> str | None:
    told = (
        "Request too large for model `llama` in organization `org_1` service tier `on_demand` on tokens per minute "
        f"(TPM): Limit {most}, Requested {prompt + answer}, please reduce your message size and try again."
    )
    return told if prompt + answer > most else None


def _openai_tpm(prompt: int, answer: int, most: int) -> str | None:
    told = (
        f"Request too large for gpt-5 in organization org-1 on tokens per min (TPM): Limit {most}, Requested "
        f"{prompt + answer}. The input or output tokens must be reduced in order to run successfully."
    )
    return told if prompt + answer > most else None


def _without_figures(prompt: int, answer: int, most: int) -> str | None:
    return "Please reduce the length of the messages or completion." if prompt + answer > most else None


def _anthropic_answer(_: int, answer: int, most: int) -> str | None:
    told = f"max_tokens: {answer} > {most}, which is the maximum allowed number of output tokens for claude-x"
    return told if answer > most else None


def _openai_answer(_: int, answer: int, most: int) -> str | None:
    told = f"max_tokens is too large: {answer}. This model supports at most {most} completion tokens"
    return told if answer > most else None


def _groq_answer(_: int, answer: int, most: int) -> str | None:
    told = (
        f"`max_tokens` must be less than or equal to `{most}`, the maximum value for `max_tokens` is less than the "
    )
    return told + "`context_window` for this model" if answer > most else None


def _qwen_answer(_: int, answer: int, most: int) -> str | None:
    return f"Range of max_tokens should be [1, {most}]" if answer > most else None


def _afford(_: int, answer: int, most: int) -> str | None:
    told = (
        f"This request requires more credits, or fewer max_tokens. You requested up to {answer} tokens, but can only "
    )
    return f"{told}afford {most}. To increase, add more credits" if answer > most else None


CONTEXTS = {"vllm": _vllm, "at-least": _at_least, "anthropic": _anthropic, "tpm": _tpm, "silent": _without_figures}
ANSWERS = {
    "anthropic-answer": _anthropic_answer,
    "openai-answer": _openai_answer,
    "groq-answer": _groq_answer,
    "qwen-answer": _qwen_answer,
}
RATES = {"tpm-groq": _groq_tpm, "tpm-openai": _openai_tpm}
STATUS = {"afford": 402, "tpm-groq": 413, "tpm-openai": 429}
MOST = 2048
TEMPLATE = 15


def _strict(handler: Handler) -> None:
    asked = handler.owner.requests[-1]
    prompt = sum(len(turn["content"].encode()) for turn in asked["messages"]) // 3 + TEMPLATE
    refuse = {**CONTEXTS, **ANSWERS, **RATES, "afford": _afford}[asked["model"]]
    told = refuse(prompt, asked.get("max_tokens", 0), MOST)
    if told:
        handler.head(STATUS.get(asked["model"], 400), "application/json")
        handler.say(json.dumps({"error": {"message": told, "type": "invalid_request_error"}}))
        return
    handler.head()
    handler.say(handler.dialect.opening() + handler.dialect.thought("Hm."))
    handler.chunk(ANSWER)
    handler.conclude()


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """A server with little room."""
    strict = ProviderServer(dict.fromkeys([*CONTEXTS, *ANSWERS, *RATES, "afford"], _strict))
    yield strict
    strict.stop()


class Asker:
    """Asks one model."""

    def __init__(self, server: ProviderServer, model: str, **options: Any) -> None:
        protocol = "anthropic" if model.startswith("anthropic") else "openai"
        table = {"label": "M", "provider": protocol, "base_url": server.base_url(protocol), "model": model, **options}
        self._server = server
        self._pool = ClientPool(ModelCatalog(default="m", models={"m": ModelConfig(**table)}), local_url="")

    def ask(self, question: str = "Why?") -> list[int | None]:
        """The limits that were asked with until there was an answer."""
        before = len(self._server.requests)
        text = read_text(self._pool.open("m", [Turn("user", question)]))
        assert text == ANSWER
        return [request.get("max_tokens") for request in self._server.requests[before:]]


@pytest.mark.parametrize("model", [*CONTEXTS, *ANSWERS])
def test_room_for_thinking_does_not_make_a_question_too_long(server: ProviderServer, model: str) -> None:
    asker = Asker(server, model)
    assert asker.ask() == [1024]
    first, *_, last = asker.ask()
    assert first == 3072
    assert last is not None
    assert 1024 <= last <= MOST
    if model not in ("tpm", "silent"):
        assert len(asker.ask()) == 1, "it has been learned"


@pytest.mark.parametrize("model", CONTEXTS)
def test_a_table_that_is_right_is_enough_for_a_dense_question(server: ProviderServer, model: str) -> None:
    asker = Asker(server, model, context_tokens=MOST, max_tokens=300)
    asker.ask()
    last = asker.ask("1" * 3 * 1700)[-1]
    assert last is not None
    assert 300 <= last <= MOST - 1700 - TEMPLATE


@pytest.mark.parametrize("model", ["vllm", "at-least", "anthropic"])
def test_an_answer_gets_what_the_question_leaves(server: ProviderServer, model: str) -> None:
    asker = Asker(server, model)
    last = asker.ask("x" * 3 * 1500)[-1]
    assert last is not None
    assert 64 <= last <= MOST - 1500 - TEMPLATE


@pytest.mark.parametrize("model", ANSWERS)
def test_the_greatest_limit_is_used_and_remembered(server: ProviderServer, model: str) -> None:
    asker = Asker(server, model, max_tokens=5000)
    assert asker.ask() == [5000, MOST]
    assert asker.ask() == [MOST]


def test_what_can_be_paid_for_is_used_and_not_remembered(server: ProviderServer) -> None:
    asker = Asker(server, "afford", max_tokens=5000, thinking_budget=1)
    assert asker.ask() == [5001, MOST]
    assert asker.ask() == [5001, MOST]


@pytest.mark.parametrize("told", ["", ", but can only afford 63"])
def test_a_quota_that_allows_no_answer_is_one(told: str) -> None:
    complaint = complaint_of({"error": {"message": f"It needs more credits, or fewer max_tokens{told}"}}, 402)
    assert complaint.kind == "quota"
    assert reduced_limit(complaint, 4096, 1024) is None


@pytest.mark.parametrize("model", ["tpm", "tpm-groq", "tpm-openai"])
def test_what_a_rate_leaves_is_used_and_not_remembered(server: ProviderServer, model: str) -> None:
    asker = Asker(server, model, max_tokens=5000, thinking_budget=1)
    assert asker.ask() == [5001, MOST - TEMPLATE - 1]
    assert asker.ask("x" * 3 * 1000) == [5001, MOST - TEMPLATE - 1000], "less by what is too much"
    assert asker.ask() == [5001, MOST - TEMPLATE - 1]


@pytest.mark.parametrize("own", [{}, {"extra_body": {"max_tokens": 5000}}, {"omit": ("max_tokens",)}])
@pytest.mark.parametrize(("letters", "tokens"), [(3 * 2000, 2015), (3 * 2500, 2515)])
def test_what_a_rate_has_counted_of_the_answer_is_none_of_the_question(
    server: ProviderServer, own: dict[str, Any], letters: int, tokens: int
) -> None:
    asker = Asker(server, "tpm-groq", max_tokens=5000, **own)
    if tokens < MOST and "omit" in own:
        assert asker.ask("x" * letters) == [None]
        return
    with pytest.raises(ProviderError) as raised:
        asker.ask("x" * letters)
    assert (raised.value.kind, raised.value.prompt_tokens, raised.value.limit_tokens) == ("too-long", tokens, MOST)


@pytest.mark.parametrize(
    ("message", "sent", "instead", "of_the_prompt_alone"),
    [
        ("tokens per minute (TPM): Limit 6000, Requested 8027, please", 8000, 5973, 27),
        ("on tokens per min (TPM): Limit 1000, Requested 1031. The input or output tokens must be", 1024, 993, 7),
        ("on tokens per min (TPM): Limit 1000, Requested 1001.", 900, 899, 101),
        ("on tokens per min (TPM): Limit 1000, Requested 1964.", 1027, None, 937),  # 63 are no answer
        ("on tokens per min (TPM): Limit 6000, Requested 45000.", 1024, None, 43976),
        ("on tokens per min (TPM): Limit 6000, Requested 7000.", 7000, 6000, None),
        ("on tokens per min (TPM): Limit 6000, Requested 7000.", 8000, None, 7000),  # it does not count the answer
        ("This model's maximum context length is 4096 tokens. You requested 4100 tokens", 1024, 1020, 4100),
    ],
)
@pytest.mark.parametrize("status", [413, 429])
def test_a_rate_counts_the_question_and_the_limit(
    message: str, sent: int, instead: int | None, of_the_prompt_alone: int | None, status: int
) -> None:
    complaint = complaint_of({"error": {"message": f"Request too large for m: {message}", "type": "tokens"}}, status)
    assert complaint.kind is ErrorKind.TOO_LONG
    assert reduced_limit(complaint, sent, 300) == instead
    assert without_output_tokens(complaint, sent).prompt_tokens == of_the_prompt_alone


def test_without_a_limit_there_is_none_to_make_smaller(server: ProviderServer) -> None:
    asker = Asker(server, "vllm", extra_body={"max_tokens": 2000})
    with pytest.raises(ProviderError) as raised:
        asker.ask("x" * 3 * 1000)
    assert raised.value.kind is ErrorKind.TOO_LONG
    assert asker.ask() == [2000]


def test_figures_are_used_to_the_last_token(server: ProviderServer) -> None:
    asker = Asker(server, "vllm", max_tokens=2040)
    assert asker.ask() == [2040, MOST - TEMPLATE - 1]


def test_a_question_that_leaves_no_room_is_too_long(server: ProviderServer) -> None:
    with pytest.raises(ProviderError) as raised:
        Asker(server, "vllm").ask("x" * 3 * 2000)
    assert raised.value.kind is ErrorKind.TOO_LONG
    assert (raised.value.prompt_tokens, raised.value.limit_tokens) == (2015, MOST)


@pytest.mark.parametrize(
    ("message", "sent", "instead"),
    [
        ("maximum context length is 4096 tokens and your request has 4040 input tokens", 1024, None),
        ("maximum context length is 4096 tokens and your request has 3000 input tokens", 1024, None),
        ("prompt is too long: 210000 tokens > 200000 maximum", 9216, None),
        ("`max_tokens` must be less than or equal to `512`", 400, None),
        ("max_tokens (32000) exceeds the model's context window", 9216, 1024),
        ("max_tokens (32000) exceeds the model's context window", 1024, None),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 9216, 8192),
        ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 3500 `inputs` tokens", 1024, 596),
        ("Conversation roles must alternate", 9216, None),
        ("`max_tokens` must be greater than 16", 1024, None),
    ],
)
def test_a_smaller_limit_is_tried_where_it_helps(message: str, sent: int, instead: int | None) -> None:
    assert reduced_limit(complaint_of({"error": {"message": message}}, 400), sent, 1024) == instead


def test_what_is_learned_bounds_later_requests() -> None:
    config = ModelConfig(label="M", provider="openai", model="m", base_url="http://a", max_tokens=1000)  # type: ignore[arg-type]
    question = [Turn("user", "x" * 3000)]
    assert output_limit(config, question, LearnedLimits()) == 1000
    assert output_limit(config, question, LearnedLimits(max_output_tokens=500)) == 500
    assert output_limit(config, question, LearnedLimits(context_tokens=1500)) == 492
    assert output_limit(config, question, LearnedLimits(context_tokens=1500, bytes_per_token=6.0)) == 992
    assert output_limit(config, question, LearnedLimits(context_tokens=900)) == 256
    assert limits_from_usage(LearnedLimits(), 3000, 20) == LearnedLimits()
    assert limits_from_usage(LearnedLimits(bytes_per_token=3.0), 3000, 3000).bytes_per_token == 1.0
    assert limits_from_usage(LearnedLimits(bytes_per_token=3.0), 5000, 1000).bytes_per_token == 4.0
