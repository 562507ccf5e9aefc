"""The page's modules as one: each is a function in it, in the order in which they need each other.

Not any module can be read so, but all that keep to a few forms: they import names with `import { A, B } from "…";`,
export what they declare, and have no circle. A file for each would cost the page a head and a place in the browser's
queue for each, and more: what is alike in two of them compresses only together.
"""

import re
from collections.abc import Mapping
from posixpath import dirname, join, normpath

_IMPORT = re.compile(r'^import \{(\s*\w+(?:,\s*\w+)*,?\s*)\} from "(\.[^"]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
_UNREAD = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_LATER = re.compile(r"\bimport\(`\./")
"""A dynamic import, whose address is relative to where the code is."""


class Unreadable(Exception):
    """A module has another form, or needs itself."""


def join_modules(sources: Mapping[str, str], entry: str) -> str:
    """A module that does what `entry` does, for the folder of `entry`, of sources by their paths.

    Raises Unreadable, or KeyError where a module is missing.
    """
    order: list[str] = []
    _visit(entry, sources, order, ())
    bodies = [_function(name, sources[name], dirname(entry)) for name in order]
    return "\n".join(["const modules = {};", *bodies])


def _visit(name: str, sources: Mapping[str, str], order: list[str], above: tuple[str, ...]) -> None:
    """Append what a module needs, and the module."""
    if name in above:
        raise Unreadable(f"{name} needs itself.")
    for _, path in _IMPORT.findall(sources[name]):
        needed = _resolve(name, path)
        if needed not in order:
            _visit(needed, sources, order, (*above, name))
    order.append(name)


def _function(name: str, source: str, place: str) -> str:
    exported = ", ".join(_EXPORT.findall(source))
    code = _EXPORT.sub("", source)
    code = _IMPORT.sub(lambda found: f'const {{{found[1]}}} = modules["{_resolve(name, found[2])}"];', code)
    unread = _UNREAD.search(code)
    if unread:
        raise Unreadable(f"{name}: {unread[0]!r} has a form that is not known here.")
    here = dirname(name).removeprefix(place).strip("/")
    code = _LATER.sub(f"import(`./{here}/", code)
    return f'modules["{name}"] = await (async () => {{\n{code}\nreturn {{ {exported} }};\n}})();'


def _resolve(name: str, path: str) -> str:
    return normpath(join(dirname(name), path))
