"""Modules in one file do what they did in many."""

import subprocess
import sysconfig
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from web.pages.module_bundle import join

NODE = Path(sysconfig.get_path("scripts"), "node")
MODULES = {
    "js/app.js": """import { greet } from "./ui/greet.js";
import {
  count as counted, Counter,
} from "./counter.js";
const name = "page";
console.log(await greet(name), counted, new Counter() instanceof Counter);
""",
    "js/counter.js": """import { greet } from "./ui/greet.js";
const name = "counter";
export const count = (await greet(name)).length;
export class Counter {}
""",
    "js/ui/greet.js": """const { word } = await import(`./words/en.js`);
export async function greet(name) { return `${word} ${name}`; }
console.log("once");
""",
    "js/ui/words/en.js": "export const word = 'Hello';\n",
}


def test_each_module_runs_once_with_names_of_its_own(tmp_path: Path) -> None:
    words = tmp_path / "ui" / "words"
    words.mkdir(parents=True)
    (words / "en.js").write_text(MODULES["js/ui/words/en.js"])
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "page.js").write_text(join(MODULES, "js/app.js"))
    run = subprocess.run([NODE, "page.js"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (run.stdout, run.stderr) == ("once\nHello page 13 true\n", "")


def test_the_pages_own_modules_are_joined_to_one_that_can_be_read(client: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "page.mjs").write_bytes(client.get("/static/js/page.js").data)
    run = subprocess.run([NODE, "--check", "page.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_circle_and_a_missing_module_are_errors() -> None:
    circle = {"a.js": 'import { b } from "./b.js";', "b.js": 'import { a } from "./a.js";'}
    with pytest.raises(ValueError, match=r"a\.js -> b\.js -> a\.js"):
        join(circle, "a.js")
    with pytest.raises(KeyError, match=r"c\.js"):
        join({"a.js": 'import { c } from "./c.js";'}, "a.js")
