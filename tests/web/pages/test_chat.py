"""The chat page's document: what else it has the browser fetch."""

import re
from pathlib import Path

from flask.testing import FlaskClient

STATIC = Path(__file__).parents[3] / "web" / "static"


def test_the_page_preloads_each_module_once(client: FlaskClient) -> None:
    preloaded = re.findall(r'<link rel="modulepreload" href="([^"]+)">', client.get("/").text)
    assert sorted(preloaded) == sorted(f"/static/{path.relative_to(STATIC)}" for path in STATIC.rglob("*.js"))


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
    assert found == set(STATIC.rglob("*.js"))


def test_each_style_sheet_is_there(client: FlaskClient) -> None:
    for page in ("/", "/docs"):
        sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)">', client.get(page).text)
        assert sheets
        assert {client.get(sheet).status_code for sheet in sheets} == {200}
