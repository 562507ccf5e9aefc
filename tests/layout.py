"""The figures of the layout, counted from imports: `make layout` (`ARGS=--arrows` names each arrow).

A *room* is a direct child of a package, a file or a folder. An *arrow* leads from a room to one that it imports. It
is *uphill* when its room is imported back, directly or over others: such rooms can't be read one after the other.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

import grimp

PACKAGES = ("core", "broker", "web", "workers", "cli")
Arrow = tuple[str, str]


@dataclass(frozen=True)
class Layout:
    """A package's rooms, and the arrows between them."""

    rooms: frozenset[str]
    arrows: frozenset[Arrow]

    @property
    def uphill(self) -> frozenset[Arrow]:
        """The arrows that lie on a circle."""
        return frozenset((room, other) for room, other in self.arrows if room in _reached(other, self.arrows))


def measure(package: str, modules: Iterable[str], imports: Iterable[Arrow]) -> Layout:
    """The layout of a package with these modules, and these imports (importer, imported) between any modules."""

    def room(module: str) -> str | None:
        names = module.split(".")
        return names[1] if names[0] == package and len(names) > 1 else None

    rooms = {found for module in modules if (found := room(module))}
    arrows = {(room(importer), room(imported)) for importer, imported in imports}
    between = {(one, other) for one, other in arrows if one and other and one != other}
    return Layout(frozenset(rooms), frozenset(between))


def measured() -> dict[str, Layout]:
    """The layout of each package, as it is now."""
    graph = grimp.build_graph(*PACKAGES)
    imports = {
        (module, other) for module in graph.modules for other in graph.find_modules_directly_imported_by(module)
    }
    return {package: measure(package, graph.modules, imports) for package in PACKAGES}


def _reached(start: str, arrows: frozenset[Arrow]) -> set[str]:
    reached, new = set[str](), {start}
    while new:
        reached |= new
        new = {other for room, other in arrows if room in new} - reached
    return reached


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m tests.layout")
    parser.add_argument("--arrows", action="store_true", help="name each arrow")
    options = parser.parse_args()
    for package, layout in measured().items():
        print(f"{package:8} {len(layout.rooms):3} rooms {len(layout.arrows):4} arrows {len(layout.uphill):3} uphill")
        for room, other in sorted(layout.arrows if options.arrows else layout.uphill):
            print(f"           {room} -> {other}{'  (uphill)' if (room, other) in layout.uphill else ''}")


if __name__ == "__main__":
    main()
