"""A plot of cut pauses against dead air, as SVG by hand: no package, and small differences between two runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from plots import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, STYLE, TOP, WIDTH

__all__ = ["draw_turns"]

STEP_MS, STEP_PCT = 250, 10
BUDGET_PCT = 5


def draw_turns(
    path: Path, heading: str, curves: Mapping[str, list[tuple[float, float]]], default: tuple[float, float]
) -> None:
    """Writes ``path``.

    :param curves: of each way its pairs of mean dead air in ms and cut pauses in percent; the names stand beside
    :param default: the pair of the default settings
    """
    ways = {name: sorted(points) for name, points in curves.items()}
    every = [point for points in ways.values() for point in points]
    low = STEP_MS * math.floor(min(ms for ms, _ in every) / STEP_MS)
    high = STEP_MS * math.ceil(max(ms for ms, _ in every) / STEP_MS)
    top = STEP_PCT * math.ceil(max(pct for _, pct in every) / STEP_PCT)

    def x(ms: float) -> float:
        return LEFT + (ms - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(pct: float) -> float:
        return HEIGHT - BOTTOM - pct / top * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<g style="{STYLE}" fill="#1f2937">',
        f'<text x="{LEFT}" y="22" style="font-size:15px">{heading}</text>',
    ]
    for pct in range(0, top + 1, STEP_PCT):
        parts.append(f'<path d="M{LEFT} {y(pct):.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(pct) + 4:.1f}" text-anchor="end">{pct} %</text>')
    for ms in range(low, high + 1, STEP_MS):
        parts.append(f'<text x="{x(ms):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{ms}</text>')
    parts.append(
        f'<path d="M{LEFT} {y(BUDGET_PCT):.1f}H{WIDTH - RIGHT}" stroke="#9ca3af" stroke-dasharray="3 3"/>'
        f'<text x="{LEFT}" y="{HEIGHT - 10}" fill="#6b7280">mean dead air after the end of a turn, ms</text>'
    )
    for points, colour in zip(ways.values(), COLOURS, strict=False):
        line = " ".join(f"{x(ms):.1f},{y(pct):.1f}" for ms, pct in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(ms):.1f}" cy="{y(pct):.1f}" r="2.5" fill="{colour}"/>' for ms, pct in points]
    for row, (name, colour) in enumerate(zip(ways, COLOURS, strict=False)):
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 16 + 18 * row}" fill="{colour}">{name}</text>')
    at_x, at_y = x(default[0]), y(default[1])
    parts.append(f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="6" fill="none" stroke="#1f2937"/>')
    parts.append(f'<text x="{at_x + 10:.1f}" y="{at_y - 6:.1f}">default</text>')
    parts += ["</g>", "</svg>", ""]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")
