"""Modules that have been joined do what they do apart, in Node."""

import subprocess
from pathlib import Path

import pytest

from tests.js.test_modules import NODE
from web.pages.joined_modules import Unreadable, join_modules

MODULES = {
    "js/app.js": 'import { Bell } from "./ui/bell.js";\nimport {\n  word, later,\n} from "./ui/words.js";\n'
    "const own = 1;\nconsole.log(new Bell().ring(), word, own, await later());\n",
    "js/ui/bell.js": 'import { word } from "./words.js";\nconst own = 2;\n'
    "export class Bell {\n  ring() { return word + own; }\n}\n",
    "js/ui/words.js": 'export const word = "ring";\nexport async function later() {\n'
    "  return (await import(`./more.js`)).default;\n}\n",
}


def test_names_stay_apart_and_what_comes_later_is_found(tmp_path: Path) -> None:
    (tmp_path / "ui").mkdir()
    (tmp_path / "ui" / "more.js").write_text("export default 3;")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "page.js").write_text(join_modules(MODULES, "js/app.js"))
    run = subprocess.run([NODE, tmp_path / "page.js"], capture_output=True, text=True, timeout=20)
    assert run.stdout == "ring2 ring 1 3\n", run.stderr


@pytest.mark.parametrize(
    "source",
    [
        'import * as words from "./ui/words.js";',
        'import { word as other } from "./ui/words.js";',
        "export default 1;",
        'export { word } from "./ui/words.js";',
        'import { itself } from "./app.js";',
    ],
)
def test_what_cannot_be_joined_is_refused(source: str) -> None:
    with pytest.raises(Unreadable, match="app"):
        join_modules({**MODULES, "js/app.js": source}, "js/app.js")
