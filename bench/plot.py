"""A plot as a small SVG file: lines over two logarithmic axes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 640, 360, 50
LEGEND = 150
"""Pixels on the right, for the lines' names."""
FONT = 'font-family="sans-serif" font-size="12"'
COLORS = ("#888888", "#0b6bcb", "#d1495b", "#2a9d8f", "#e9a23b", "#7d5ba6")

Points = Sequence[tuple[float, float]]


def lines(title: str, across: str, series: Mapping[str, Points]) -> str:
    """The SVG. Points whose values are not positive are left out, and so are series without points."""
    drawn = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in series.items()}
    drawn = {name: points for name, points in drawn.items() if points}
    xs = sorted({x for points in drawn.values() for x, _ in points}) or [1.0]
    ys = [y for points in drawn.values() for _, y in points] or [1.0]
    ticks = [10.0**power for power in range(math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys))) + 1)]
    right, bottom = WIDTH - MARGIN - LEGEND, HEIGHT - MARGIN

    def left_of(x: float) -> float:
        return _scaled(x, xs[0], xs[-1], MARGIN, right)

    def height_of(y: float) -> float:
        return _scaled(y, ticks[0], ticks[-1], bottom, MARGIN)

    def body() -> Iterator[str]:
        yield _text(MARGIN, 25, title)
        yield _text(right, HEIGHT - 10, across, anchor="end")
        for tick in ticks:
            height = height_of(tick)
            yield f'<line x1="{MARGIN}" y1="{height:.1f}" x2="{right}" y2="{height:.1f}" stroke="#ddd"/>'
            yield _text(MARGIN - 5, height + 4, f"{tick:g}", anchor="end")
        for x in xs:
            yield _text(left_of(x), bottom + 18, f"{x:g}", anchor="middle")
        for number, (name, points) in enumerate(drawn.items()):
            color = COLORS[number % len(COLORS)]
            path = " ".join(f"{left_of(x):.1f},{height_of(y):.1f}" for x, y in points)
            yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'
            yield _text(right + 15, MARGIN + 20 * number, name, color=color)

    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *body(), "</svg>", ""])


def _scaled(value: float, least: float, most: float, begin: float, end: float) -> float:
    if most <= least:
        return begin
    return begin + (end - begin) * math.log(value / least) / math.log(most / least)


def _text(x: float, y: float, text: str, anchor: str = "start", color: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'
