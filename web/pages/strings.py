"""The page's words in the reader's language, from the tables that its modules read: static/js/ui/strings."""

import json
from pathlib import Path

from werkzeug.wrappers import Request

COOKIE = "switchboard_language"
"""The reader's own choice, which the page writes down; not a secret."""
THEME_COOKIE = "switchboard_theme"
THEMES = ("light", "dark")
LANGUAGES = ("en", "de", "zh")
"""As BCP 47 has them; the first is for readers of none."""

_TABLES = Path(__file__).parents[1] / "static" / "js" / "ui" / "strings"


def _table(language: str) -> dict[str, str]:
    """A module that exports one object, which is written as JSON."""
    source = (_TABLES / f"{language}.js").read_text(encoding="utf-8")
    table: dict[str, str] = json.loads(source.strip().removeprefix("export default").removesuffix(";"))
    return table


STRINGS = {language: _table(language) for language in LANGUAGES}


def language_of(request: Request) -> str:
    """The language that the reader has chosen or, without a choice, that their browser prefers."""
    chosen = request.cookies.get(COOKIE)
    if chosen in LANGUAGES:
        return chosen
    preferred = (tag.lower().split("-")[0] for tag, quality in request.accept_languages if quality > 0)
    return next((language for language in preferred if language in LANGUAGES), LANGUAGES[0])


class Strings:
    """The words of one language, by their keys."""

    def __init__(self, language: str) -> None:
        self._table = STRINGS[language]

    def __call__(self, key: str, **values: str) -> str:
        """The words for a key, with the values in their places."""
        words = self._table[key]
        for name, value in values.items():
            words = words.replace(f"{{{name}}}", value)
        return words
