"""The layout stays one that can be read from top to bottom (docs/architecture.md)."""

import pytest

from tests.layout import measure, measured

MOST = {"core": (17, 67), "web": (18, 53)}
"""Rooms and arrows that a package may have. To need more is a reason to look at the layout anew."""


@pytest.mark.parametrize("package", ["core", "broker", "web", "workers", "cli"])
def test_no_arrow_leads_uphill(package: str) -> None:
    assert not measured()[package].uphill


@pytest.mark.parametrize("package", sorted(MOST))
def test_a_package_stays_small(package: str) -> None:
    layout = measured()[package]
    rooms, arrows = MOST[package]
    assert len(layout.rooms) <= rooms
    assert len(layout.arrows) <= arrows


def test_a_circle_is_found_over_any_number_of_rooms() -> None:
    imports = [
        ("p.a.x", "p.b"),
        ("p.b", "p.c.y"),
        ("p.c.y", "p.a.z"),
        ("p.c", "p.d"),
        ("p.d.x", "p.d.y"),
        ("q.a", "p.a"),
    ]
    layout = measure("p", ["p", "p.a", "p.a.x", "p.a.z", "p.b", "p.c.y", "p.d.x", "p.d.y", "q.a"], imports)
    assert layout.rooms == {"a", "b", "c", "d"}
    assert layout.arrows == {("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")}
    assert layout.uphill == {("a", "b"), ("b", "c"), ("c", "a")}
