"""A provider's own words, as an operator may see them."""

import html
import json
import re
import string
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import HttpUrl

from core.llm.catalog import ModelCatalog
from core.llm.client_pool import ClientPool
from core.llm.model_config import ModelConfig
from core.llm.providers.base import ProviderError, Turn
from core.llm.providers.errors import complaint_of
from core.llm.providers.redaction import MAX_QUOTED_LENGTH, redacted
from core.llm.providers.tail_buffer import MIN_TAIL_LENGTH, TailBuffer
from tests.support.provider import Handler, ProviderServer
from tests.support.reading import read

QUESTION = "My password is Tr0ub4dor and my cat is called Miez, please tell nobody about it."


TURNS = [Turn("system", "Be kind to people."), Turn("user", QUESTION)]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("The model `gpt-9` does not exist", "The model `gpt-9` does not exist"),
        ("models/gemini-2.5-flash-preview-0520 is not found", "models/gemini-2.5-flash-preview-0520 is not found"),
        ("Incorrect API key provided: sk-proj-abc***9.", "Incorrect API key provided: [...]"),
        ("bad header Authorization: Bearer abc.def-ghi", "bad header Authorization: [...]"),
        ("key our-own-key is wrong", "key [...] is wrong"),
        ("token 0123456789abcdef0123456789abcdef", "token [...]"),
        ("AIzaSyA-1234567890abcdefg", "[...]"),
        ("gsk_abcdefgh12 refused", "[...] refused"),
        ("see https://user:pw@example.org/a/b?key=abc#d for more", "see https://example.org/a/b for more"),
        ("at socks5://me:secret@10.0.0.1:1080 now", "at socks5://10.0.0.1:1080 now"),
        ("a\r\nb\x00c\x1b[31md\u202ee\u2028f", "a b\N{REPLACEMENT CHARACTER}c [31mde f"),
        (f"in '{QUESTION}'", "in '[...].'"),
        ("in 'my  PASSWORD is\\nTr0ub4dor'", "in '[...]'"),
        ("in my password is Tr0ub4dor yes", "in [...] yes"),
        ("three words: password is Tr0ub4dor", "three words: [...]"),
        ("your message is too long, please", "your message is too long, please"),
        ("You asked: x y", "You asked: [...]"),
        ("not 4711 but 4096 of 8192 tokens", "not [...] but 4096 of 8192 tokens"),
        ("call 0049171234567", "call [...]"),
        ("call 0049 171 234567", "call [...]"),
        ("flagged: Tr0ub4", "flagged: [...]"),
        ("tokens: ['Tr0', 'ub4', 'dor']", "tokens: ['[...]']"),
        (
            "invalid_api_key: Incorrect API key provided: sk-abc***xyz. See",
            "invalid_api_key: Incorrect API key provided: [...] See",
        ),
        ("Unknown key: temperature is not supported", "Unknown key: temperature is not supported"),
        ("Incorrect API key provided: sk-secret", "Incorrect API key provided: [...]"),
        ("sky-high fwd-model scikit_learn", "sky-high fwd-model scikit_learn"),
        ("Bearer token is missing", "Bearer token is missing"),
        ("bad header Authorization: Basic dTpwQHNz", "bad header Authorization: [...]"),
        ("secret: swordfish", "secret: [...]"),
        ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"),
        ("xai.grok-4-fast, scikit-learn", "xai.grok-4-fast, scikit-learn"),
        ("sk-secret: out of memory", "[...]: out of memory"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"),
        ("unsloth/DeepSeek-R1-Distill-Llama-70B-GGUF", "unsloth/DeepSeek-R1-Distill-Llama-70B-GGUF"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ('quoted {"content": "hunter2 hunter2"}', 'quoted {"content": "[...]"}'),
        ("你好世界" * 8, "[...]"),
        ("\\u4f60\\u597d\\u4e16\\u754c" * 8, "[...]"),
        ("Failed to parse input at pos 12: <think>So it is", "Failed to parse input at pos 12: [...]"),
        ("syntax error - invalid literal; last read: '{So'", "syntax error - invalid literal; last read: [...]"),
        ("error parsing tool call: raw='So', err=EOF", "error parsing tool call: raw= [...]"),
        ("bad sk-1234 and sk-ab", "bad [...] and sk-ab"),
        ("id AKIAIOSFODNN7EXAMPLE, ASIAIOSFODNNAEXAMPLE", "id [...], [...]"),
        ("AKIAN is no name of 550e8400-e29b-41d4", "AKIAN is no name of 550e8400-e29b-41d4"),
        ("key 550e8400-e29b-41d4-a716-446655440000 of a/b", "key [...] of a/b"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "[...]"),
        ("claude-haiku-4-5-20251001 is none", "claude-haiku-4-5-20251001 is none"),
        ("InputTextSensitiveContentDetected", "InputTextSensitiveContentDetected"),
        ("at NoSuchModelFoundException: gone", "at NoSuchModelFoundException: gone"),
        ("accounts/fireworks/models/llama-v3p1-405b", "accounts/fireworks/models/llama-v3p1-405b"),
        ("", ""),
    ],
)
def test_words_are_shown_without_what_is_not_theirs(words: str, shown: str) -> None:
    turns = [QUESTION, "hunter2 hunter2", "说 " + "你好世界" * 8, "x", "Y?", "4711", "0049171234567 it is", "so 4096"]
    assert redacted(words, turns, "our-own-key") == shown


SHAPES = {  # of keys: how they begin, what the rest is made of, how long it is
    "AWS's id": (("AKIA", "ASIA"), string.ascii_uppercase + string.digits, 16),
    "AWS's secret": (("",), string.ascii_letters + string.digits + "/+", 40),
    "GitHub's": (("github_pat_", "ghp_", "ghs_"), string.ascii_letters + string.digits, 36),
    "Mistral's": (("",), string.ascii_letters + string.digits, 32),
    "short": (("sk-", "gsk_"), string.ascii_letters + string.digits, 4),
    "hash": (("",), "0123456789abcdef", 32),
}
EACH = 500


@pytest.mark.parametrize("shape", SHAPES)
def test_keys_of_a_kind_are_gone_whatever_they_are(shape: str) -> None:
    beginnings, alphabet, length = SHAPES[shape]
    random = Random(shape)
    keys = [random.choice(beginnings) + "".join(random.choices(alphabet, k=length)) for _ in range(EACH)]
    assert [key for key in keys if redacted(f"no such key {key} here", []) != "no such key [...] here"] == []


def test_a_key_that_is_a_uuid_is_gone() -> None:
    random = Random(1)
    keys = [str(UUID(int=random.getrandbits(128))) for _ in range(EACH)]
    assert {redacted(f"{key} or {key.upper()}", []) for key in keys} == {"[...] or [...]"}


def test_no_key_is_none_to_look_for() -> None:
    assert redacted("none of the models", [], "none") == "none of the models"


@pytest.mark.parametrize("spelling", ["s3cret%2Fs", "s3cret/s", "S3CRET/S", "s3cret\\/s"])
def test_secrets_go_in_every_spelling_and_short_ones_where_they_stand_alone(spelling: str) -> None:
    assert redacted(f"not {spelling}, pw1 or pw12", [], "s3cret%2Fs", "pw1", "", "none") == "not [...], [...] or pw12"


def test_the_models_own_name_is_no_secret() -> None:
    name = "org/ft-9aB3xY7qW2eR5tZ8uI1oP4-wilhelmina"
    assert redacted(f"no model {name}", ["wilhelmina"], names=[name]) == f"no model {name}"
    assert redacted(f"no model {name}", ["wilhelmina"]) == "no model [...]"


def test_words_are_bounded() -> None:
    shown = redacted("word " * 100_000, [])
    assert len(shown) == MAX_QUOTED_LENGTH
    assert shown.endswith("…")


def _bytes_repr(text: str) -> str:
    return repr(text.encode())


def _octal(text: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in text.encode())


QUOTATIONS: list[Callable[[str], str]] = [
    str,
    str.upper,
    json.dumps,
    lambda text: json.dumps(json.dumps({"m": json.dumps([text])})),
    lambda text: json.dumps(html.escape(text)),
    _bytes_repr,
    _octal,
    quote,
    lambda text: quote(quote(text)),
    html.escape,
    lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    *(lambda text, form=form: unicodedata.normalize(form, text) for form in ("NFD", "NFC", "NFKC", "NFKD")),
    lambda text: " ".join(text),
    lambda text: repr([text[at : at + 3] for at in range(0, len(text), 3)]),
]
SAID = st.text("kqzvwöéßйж9  '\"&<%\\\n.我想自殺怎麼辦สวัสดี한국어か", min_size=1, max_size=60)


@given(st.lists(SAID, min_size=1, max_size=4), st.data())
def test_nothing_of_a_turn_is_left_however_it_is_quoted(turns: list[str], data: st.DataObject) -> None:
    turn = data.draw(st.sampled_from(turns))
    begin = data.draw(st.integers(0, len(turn)))
    excerpt = turn[begin : data.draw(st.integers(begin, len(turn)))]
    shown = redacted(f"invalid input: {data.draw(st.sampled_from(QUOTATIONS))(excerpt)} is blocked", turns)
    assert shown.startswith("invalid input: ")
    left = _letters(shown)
    said = [_letters(turn) for turn in turns]
    for size, kind in ((8, str.isalnum), (2, lambda row: row[0] > "\u0e00" and row[1] > "\u0e00")):
        rows = {left[at : at + size] for at in range(len(left) - size + 1)}
        assert not [row for row in rows if kind(row) and any(row in each for each in said)]


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


TALK = [
    "You are a helpful assistant. Answer in the language of the question.",
    "Hi! How are you today? I had a long flight to Paris, and my key does not open the door.",
    "Hello! I am well, thank you. What can I do for you?",
    "Is the weather good there? My son has an error in his school project, he tried too many times.",
    "I'm sorry to hear that. Please tell me more: which message did he get, and when?",
    "Nothing, thanks. Try again later.",
]


@pytest.mark.parametrize(
    "refusal", json.loads((Path(__file__).parent / "refusals.json").read_text()), ids=itemgetter("name")
)
def test_providers_words_survive_small_talk(refusal: dict[str, Any]) -> None:
    message = complaint_of(refusal["body"], refusal["status"]).message
    assert redacted(message, TALK) == redacted(message, [])


@pytest.mark.timing
def test_long_conversations_take_no_time() -> None:
    turns = ["word " * 200_000, "ab " * 300_000, "x" * 1_000_000, "你" * 300_000, "a b c d\n" * 100_000]
    begun = time.monotonic()
    for words in ("word x ", "ab ", "x", "你", "a b d c "):
        redacted(words * 10_000, turns)
    assert time.monotonic() - begun < 10


def _quotes(status: int) -> Any:
    def manner(handler: Handler) -> None:
        asked = handler.owner.requests[-1]
        told = {
            "error": {
                "message": f"bad input: {json.dumps(asked['messages'])} {asked['authorization']}",
                "code": status,
            }
        }
        handler.head(status, "application/json")
        handler.say(json.dumps(told))

    return manner


def _trickles(handler: Handler) -> None:
    handler.head(400)
    handler.say("out of order ")
    while True:
        handler.say("." * 100)
        time.sleep(0.05)


def _stalls(handler: Handler) -> None:
    handler.head(400)
    handler.say('{"error": "out of order')
    handler.connection.recv(1)


def _floods(handler: Handler) -> None:
    handler.head(400)
    for _ in range(2000):
        handler.say("out of order " * 1000)


THOUGHT = "They told me of Miez, whose whiskers are whiter than snow."
WRITTEN = "Your cat is surely the fairest of all the cats in town."


def _quotes_itself(handler: Handler) -> None:
    """Tells of an error in what it has written, with all of it."""
    prefilled = "".join(turn["content"] for turn in handler.owner.requests[-1]["messages"][len(TURNS) :])
    written = WRITTEN.removeprefix(prefilled)
    deltas = [{"reasoning_content": piece} for piece in THOUGHT] + [{"content": piece} for piece in written]
    told = {"error": {"message": f"bad output: '{WRITTEN}' after '{THOUGHT}'", "code": 500}}
    handler.head()
    for data in [*({"choices": [{"index": 0, "delta": delta}]} for delta in deltas), told]:
        handler.say(f"data: {json.dumps(data)}\n\n")


MANNERS = {
    "quotes-itself": _quotes_itself,
    "quotes": _quotes(400),
    "succeeds": _quotes(200),
    "trickles": _trickles,
    "stalls": _stalls,
    "floods": _floods,
}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """A server that says too much."""
    talkative = ProviderServer(MANNERS)
    yield talkative
    talkative.stop()


def _error(server: ProviderServer, model: str, turns: Sequence[Turn] = TURNS) -> ProviderError:
    url = HttpUrl(server.url)
    config = ModelConfig(label="M", provider="openai", base_url=url, model=model, api_key_env="SOME_KEY")
    pool = ClientPool(ModelCatalog(default="m", models={"m": config}), "")
    with pytest.raises(ProviderError) as raised:
        read(pool.open("m", turns))
    return raised.value


@pytest.mark.parametrize("model", ["quotes", "succeeds"])
def test_a_server_that_quotes_us_is_not_quoted(
    server: ProviderServer, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "our-own-key-of-words")
    error = _error(server, model)
    assert error.provider_message.startswith("bad input: ")
    everything = "".join(traceback.format_exception(error)) + error.provider_message + error.log_detail
    for secret in ("Tr0ub4dor", "Miez", "kind to people", "our-own"):
        assert secret not in everything


@pytest.mark.parametrize("prefilled", [[], [Turn("assistant", WRITTEN[:15])]], ids=["anew", "prefilled"])
def test_a_server_that_quotes_the_answer_is_not_quoted(
    server: ProviderServer, prefilled: list[Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "k")
    error = _error(server, "quotes-itself", [*TURNS, *prefilled])
    assert error.provider_message == "bad output: '[...].' after '[...].'"


def test_the_end_of_an_answer_is_kept_whole() -> None:
    tail = TailBuffer()
    for piece in ["x" * MIN_TAIL_LENGTH, "\ud83d", "\ude00", *"cat" * 1000, "y" * (MIN_TAIL_LENGTH - 3002), ""]:
        tail.add(piece)
    assert str(tail) == "😀" + "cat" * 1000 + "y" * (MIN_TAIL_LENGTH - 3002)


@pytest.mark.parametrize("model", ["trickles", "stalls", "floods"])
def test_a_refusal_is_read_soon_or_not_at_all(
    server: ProviderServer, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "k")
    begun = time.monotonic()
    error = _error(server, model)
    assert time.monotonic() - begun < 3
    assert "out of order" in error.provider_message
    assert len(error.provider_message) <= MAX_QUOTED_LENGTH
