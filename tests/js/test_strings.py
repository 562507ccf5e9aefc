"""The page's words: one table per language, with the same keys, and no words anywhere else."""

import re
from pathlib import Path
from typing import Any

import pytest

from web.pages.strings import LANGUAGES, STRINGS

WEB = Path(__file__).parents[2] / "web"
MODULES = WEB / "static" / "js"
TEMPLATES = WEB / "templates"
PAGE = [TEMPLATES / "index.html", TEMPLATES / "account.html", TEMPLATES / "settings.html"]
COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`')
COMPOSED = ("empty.example.", "shortcuts.")
"""What the templates put the ends of keys to."""
NAMES = re.compile(
    r"Key|Comma|Enter|Escape|Home|End|Page(?:Up|Down)|Arrow\w+|Content-Type|Date|Retry-After|ETag|If-Match|Idempotency-Key|X-Session-ID|Location|Switchboard"
)
"""Capitalised, but of keys, headers and this project."""


def _values(words: Any) -> list[str]:
    return list(words.values()) if isinstance(words, dict) else [words]


def _placeholders(words: Any) -> set[str]:
    return {name for value in _values(words) for name in re.findall(r"\{(\w+)\}", value)}


def _modules() -> dict[str, str]:
    """The modules' code without comments, by their paths; not the tables."""
    return {
        path.relative_to(MODULES).as_posix(): COMMENT.sub("", path.read_text())
        for path in MODULES.rglob("*.js")
        if path.parent.name != "strings"
    }


def test_each_table_is_offered() -> None:
    assert {path.stem for path in (MODULES / "ui" / "strings").glob("*.js")} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_a_language_has_the_same_keys_and_values_as_english(language: str) -> None:
    english, other = STRINGS["en"], STRINGS[language]
    assert list(other) == list(english)
    assert {key: _placeholders(other[key]) for key in other} == {key: _placeholders(english[key]) for key in english}
    assert [key for key, words in other.items() if not all(_values(words))] == []
    assert {key for key in english if isinstance(english[key], dict)} == {
        key for key in other if isinstance(other[key], dict)
    }


def test_each_key_is_used_and_each_that_is_used_is_there() -> None:
    code = "\n".join(_modules().values())
    markup = "\n".join(page.read_text() for page in PAGE)
    assert [key for key in STRINGS["en"] if f'"{key}"' not in code + markup and not _composed(key, markup)] == []
    asked = set(re.findall(r'\bt\("([\w.]+)"', code + markup)) - set(COMPOSED)
    assert asked - set(STRINGS["en"]) == set()


def _composed(key: str, markup: str) -> bool:
    """Whether the template makes the key of parts."""
    return key.startswith(COMPOSED) and f'"{key.rpartition(".")[2]}"' in markup


def test_no_other_module_has_words_of_its_own() -> None:
    found = []
    for module, code in _modules().items():
        for literal in LITERAL.findall(code):
            # Of a template literal, only what is not put in; and no two words in a row are a name of anything.
            text = re.sub(r"\$\{[^}]*\}", " ", literal[1:-1])
            sentence = re.search(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}", text) or re.search(r"\w[…\u2019]", text)
            if sentence or (re.match(r"\s*[A-Z][a-z]+", text) and not NAMES.fullmatch(text)):
                found.append((module, literal))
    assert found == []


def test_the_templates_have_no_words_of_their_own() -> None:
    for page in PAGE:
        markup = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", page.read_text(), flags=re.DOTALL)
        shown = re.findall(r">([^<>]*[A-Za-z][^<>]*)<", markup)
        shown += re.findall(r'(?:aria-label|placeholder|title|data-missing)="([^"]*\w[^"]*)"', markup)
        assert set(shown) <= {"Switchboard"}
