"""The chat page's document: what else it has the browser fetch."""

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from web.pages.strings import LANGUAGES

STATIC = Path(__file__).parents[3] / "web" / "static"


TABLES = STATIC / "js" / "ui" / "strings"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_preloads_the_words_of_its_language(client: FlaskClient, language: str) -> None:
    page = client.get("/", headers={"Accept-Language": language}).text
    preloaded = re.findall(r'<link rel="modulepreload" href="(/static/\w+/([^"]+))">', page)
    assert [name for _, name in preloaded] == [f"js/ui/strings/{language}.js"]
    assert client.get(preloaded[0][0]).status_code == 200


def test_the_page_is_in_the_language_that_was_chosen_or_the_browsers(client: FlaskClient) -> None:
    def language(accepted: str) -> str | None:
        answer = client.get("/", headers={"Accept-Language": accepted})
        assert f'<html lang="{answer.headers["Content-Language"]}">' in answer.text
        return answer.headers["Content-Language"]

    assert language("fr, de-AT;q=0.8, en;q=0.5") == "de"
    assert language("zh-Hans-CN") == "zh"
    assert language("fr, xx") == "en"
    client.set_cookie("switchboard_language", "zh")
    assert language("de") == "zh"
    client.set_cookie("switchboard_language", "../de")
    assert language("de") == "de"


def test_the_start_imports_each_module_and_each_import_is_a_file() -> None:
    """A module that nothing imports is fetched for nothing; one that is missing leaves the page dead."""
    found, waiting = set(), [STATIC / "js" / "app.js"]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        imports = re.findall(r'^import\s.*?"(\.[^"]+)";$', module.read_text(), re.MULTILINE | re.DOTALL)
        waiting += [(module.parent / imported).resolve(strict=True) for imported in imports]
    assert found == {path for path in STATIC.rglob("*.js") if path.parent != TABLES}


def test_each_style_sheet_is_there(client: FlaskClient) -> None:
    for page in ("/", "/docs"):
        sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)">', client.get(page).text)
        assert sheets
        assert {client.get(sheet).status_code for sheet in sheets} == {200}
