"""The ids of the page's elements: each that a module looks for is in the markup, once, and of the kind it expects."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from web.pages.strings import Strings

WEB = Path(__file__).parents[2] / "web"
MODULES = WEB / "static" / "js"
TEMPLATES = WEB / "templates"
LOOKUP = re.compile(r'\b(?:byId|getElementById)\("([^"]+)"(?:, (\w+))?\)')
KINDS = {
    "button": "HTMLButtonElement",
    "dialog": "HTMLDialogElement",
    "form": "HTMLFormElement",
    "link": "HTMLLinkElement",
    "input": "HTMLInputElement",
    "select": "HTMLSelectElement",
    "textarea": "HTMLTextAreaElement",
}


class Elements(HTMLParser):
    """The tag of each element that has an id, in the page with all its ways to sign in."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, str] = {}
        self.count: Counter[str] = Counter()
        page = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template("index.html")
        self.feed(
            page.render(
                t=Strings("en"),
                languages=[("en", "English")],
                root_path="",
                registration=True,
                provider="id.example",
                asset=str,
                url_for=lambda endpoint: endpoint,
            )
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag by its id."""
        for name, value in attrs:
            if name == "id" and value is not None:
                self.tags[value] = tag
                self.count[value] += 1


def _lookups() -> dict[str, list[tuple[str, str]]]:
    """The ids and kinds that each module looks for."""
    found = {path.relative_to(MODULES).as_posix(): LOOKUP.findall(path.read_text()) for path in MODULES.rglob("*.js")}
    return {module: lookups for module, lookups in found.items() if lookups}


@pytest.fixture(scope="module")
def elements() -> Elements:
    """The elements of the page."""
    return Elements()


def test_an_id_is_given_once(elements: Elements) -> None:
    assert [name for name, count in elements.count.items() if count > 1] == []


def test_each_id_that_a_module_looks_for_is_in_the_page(elements: Elements) -> None:
    lookups = {(module, name) for module, found in _lookups().items() for name, _ in found}
    assert len(lookups) > 50
    assert [(module, name) for module, name in lookups if name not in elements.tags] == []


def test_each_element_is_of_the_kind_that_a_module_expects(elements: Elements) -> None:
    expected = {(name, kind) for found in _lookups().values() for name, kind in found if kind}
    assert len(expected) > 15
    assert [(name, kind) for name, kind in expected if KINDS[elements.tags[name]] != kind] == []


def test_ids_are_written_out() -> None:
    """An id that is put together can't be found by a search, nor checked here."""
    composed = re.compile(r'\b(?:byId|getElementById)\((?!")(.*?)\)')
    found = {
        (path.relative_to(MODULES).as_posix(), argument)
        for path in MODULES.rglob("*.js")
        for argument in composed.findall(path.read_text())
    }
    # The lookup itself, and the message beside each field of a form.
    assert found == {
        ("ui/dom.js", "id, kind = HTMLElement"),
        ("ui/dom.js", "id"),
        ("ui/form-dialog.js", "`${input.id}-error`"),
    }


def test_the_template_lists_the_ids_of_each_module() -> None:
    comment = (TEMPLATES / "index.html").read_text().split("#}")[0]
    listed = {
        module: names.split(", ") for module, names in re.findall(r"^  (\S+\.js): (.+)$", comment, re.MULTILINE)
    }
    assert listed == {module: sorted({name for name, _ in found}) for module, found in _lookups().items()}
