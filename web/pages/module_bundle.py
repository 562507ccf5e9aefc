"""The page's modules as one file: on the wire the head of an answer is as long as a small module, and what is
compressed together becomes smaller."""

import posixpath
import re
from collections.abc import Mapping

IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:(?:async )?function\*?|class|const) (\w+))", re.MULTILINE)
DYNAMIC_IMPORT = re.compile(r"\bimport\(`\.")


def join(modules: Mapping[str, str], entry: str) -> str:
    """A module that does what `entry` does, with all that it imports, for a place in the same folder.

    `modules` has the sources by their paths. Each becomes a function that runs once, after those that it imports, and
    returns its exports; a module that is imported by an expression stays outside. Raises KeyError for one that is
    missing, ValueError for a circle of imports.
    """
    names: dict[str, str] = {}
    joined: list[str] = []

    def add(path: str, above: tuple[str, ...]) -> str:
        if path in above:
            raise ValueError(f"a circle of imports: {' -> '.join((*above, path))}")
        if path in names:
            return names[path]
        folder = posixpath.dirname(path)

        def take(found: re.Match[str]) -> str:
            imported = add(posixpath.normpath(posixpath.join(folder, found[2])), (*above, path))
            return f"const {{{found[1].replace(' as ', ': ')}}} = {imported};"

        code = IMPORT.sub(take, modules[path])
        exports = ", ".join(name for _, name in EXPORT.findall(code))
        code = DYNAMIC_IMPORT.sub(f"import(`./{posixpath.relpath(folder, posixpath.dirname(entry))}", code)
        names[path] = f"$module{len(names)}"
        body = EXPORT.sub(r"\1", code)
        joined.append(f"const {names[path]} = await (async () => {{\n{body}\nreturn {{ {exports} }};\n}})();\n")
        return names[path]

    add(entry, ())
    return "".join(joined)
