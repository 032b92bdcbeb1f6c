"""Plots as small SVG files: lines over logarithmic axes, and bars. Pure: data in, text out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
# Told apart by those who see few colours, too; readable on light and on dark ground.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f7f7f", "#8b4513")
INK = "#808080"

Points = Sequence[tuple[float, float]]


def lines(title: str, x: str, y: str, series: Mapping[str, Points]) -> str:
    """Draw lines; both axes are logarithmic."""
    points = [point for line in series.values() for point in line]
    across = _Axis([px for px, _ in points], LEFT, WIDTH - RIGHT)
    upward = _Axis([py for _, py in points], HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, 22, title, size=15)]
    for value, at in across.ticks():
        parts += [_line(at, TOP, at, HEIGHT - BOTTOM, 0.25),
                  _text(at, HEIGHT - BOTTOM + 18, _short(value), anchor="middle")]  # fmt: skip
    for value, at in upward.ticks():
        parts += [_line(LEFT, at, WIDTH - RIGHT, at, 0.25),
                  _text(LEFT - 8, at + 4, _short(value), anchor="end")]  # fmt: skip
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 10, x, anchor="middle"))
    parts.append(_text(16, HEIGHT / 2, y, anchor="middle", turned=True))
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        at = [(across.place(px), upward.place(py)) for px, py in line]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in at]
        parts += _key(number, name, colour)
    return _svg(title, HEIGHT, parts)


def bars(title: str, x: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Draw bars from zero in groups, each bar with its number."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    most = max(value for group in groups.values() for value in group.values())
    scale = (WIDTH - LEFT - 40 - RIGHT - 40) / most
    parts, y = [_text(LEFT, 22, title, size=15)], TOP + 6.0
    for label, group in groups.items():
        parts.append(_text(LEFT + 32, y + 8 * len(group) + 4, label, anchor="end"))
        for name, value in group.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(
                f'<rect x="{LEFT + 40}" y="{y:.1f}" width="{value * scale:.1f}" height="13"'
                f' fill="{colour}"/>'
            )
            parts.append(_text(LEFT + 44 + value * scale, y + 11, f"{value:.2f}"))
            y += 16
        y += 12
    for number, name in enumerate(names):
        parts += _key(number, name, COLOURS[number % len(COLOURS)])
    parts.append(_text(LEFT + 40, y + 14, x))
    return _svg(title, int(max(y + 30, TOP + 20 * len(names) + 20)), parts)


class _Axis:
    """A logarithmic axis from a pixel to a pixel."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low = math.log10(min(values))
        self.high = max(math.log10(max(values)), self.low + 0.1)
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, float]]:
        steps = (1, 2, 5) if self.high - self.low < 2 else (1,)
        values = [
            step * 10.0**power
            for power in range(math.floor(self.low), math.ceil(self.high) + 1)
            for step in steps
        ]
        return [(v, self.place(v)) for v in values if 10**self.low <= v * 1.001 and
                v <= 10**self.high * 1.001]  # fmt: skip


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _key(number: int, name: str, colour: str) -> list[str]:
    x, y = WIDTH - RIGHT + 16, TOP + 10 + 20 * number
    swatch = f'<rect x="{x}" y="{y - 9}" width="12" height="10" fill="{colour}"/>'
    return [swatch, _text(x + 18, y, name)]


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{INK}"'
        f' stroke-opacity="{opacity}"/>'
    )


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", turned: bool = False
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
        f' fill="{INK}"{turn}>{escape(text)}</text>'
    )


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' font-family="system-ui, sans-serif"><title>{escape(title)}</title>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"
