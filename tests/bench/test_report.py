"""The document has what the benchmarks have printed, and a plot that a browser takes."""

from dataclasses import asdict
from xml.etree import ElementTree

from bench import plot
from bench.report import PARTS, Outcome, document
from bench.rivals import kills, speed

RIVALS = PARTS[0]


def test_figures_become_tables() -> None:
    killed = kills.Row("Switchboard", "SIGKILL", 12, 12, 0, 0, 11.62, 19)
    timed = speed.Row("LiteLLM proxy", 64, 30, 12.34, 5.5, 60.25, 400, 3840, 3840)
    written = document(
        [Outcome(RIVALS, "python -m bench.rivals", "as printed\n", 0)],
        {"kills": [asdict(killed)], "speed": [asdict(timed)]},
    )
    assert "| Switchboard | SIGKILL | 12 | 12 | 0 | 0 | 11.6 s | 19 |" in written
    assert "| LiteLLM proxy | 64 | 12.3 ms | 5.5 ms | 60.2 ms | 400 MB | 3,840 of 3,840 |" in written
    assert "```text\nas printed\n```" in written


def test_a_benchmark_that_failed_is_named() -> None:
    written = document([Outcome(RIVALS, "python -m bench.rivals", "", 1)], {})
    assert "`python -m bench.rivals` failed." in written


def test_a_plot_is_well_formed_and_has_its_lines() -> None:
    drawn = plot.lines("p99 <ms>", "streams", {"one": [(1, 1.0), (256, 90.0)], "two": [(1, 5.0)], "none": []})
    root = ElementTree.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}polyline")) == 2
    words = [text.text for text in root.findall(f"{space}text")]
    assert {"p99 <ms>", "streams", "one", "two", "256"} <= set(words)
    assert "none" not in words
    points = root.findall(f"{space}polyline")[0].get("points", "").split()
    (left, low), (right, high) = (tuple(map(float, point.split(","))) for point in points)
    assert left < right
    assert low > high  # up is less in an SVG


def test_a_value_that_is_missing_is_left_out() -> None:
    assert "nan" not in plot.lines("", "", {"one": [(1, float("nan")), (2, 3.0)]})
