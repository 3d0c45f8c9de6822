"""A plot of cost by size, both logarithmic, as SVG by hand: no package, and small differences between two runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

__all__ = ["draw"]

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 44, 52
COLOURS = ["#6b7280", "#d97706", "#0d9488", "#2563eb", "#7c3aed"]
STYLE = "font-family:system-ui,sans-serif;font-size:12px"
FRAME_SAMPLES = 160


def _size_text(size: int) -> str:
    return f"{size >> 20} Mi" if size >= 1 << 20 else f"{size >> 10} Ki" if size >= 1 << 10 else str(size)


def _decades(lowest: float, highest: float) -> range:
    return range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)


def draw(path: Path, title: str, curves: Mapping[str, list[tuple[int, float]]]) -> None:
    """Writes ``path``.

    :param curves: of each way its pairs of samples and nanoseconds a sample; the names stand beside the curves
    """
    sizes = sorted({size for points in curves.values() for size, _ in points})
    decades = _decades(
        min(cost for points in curves.values() for _, cost in points),
        max(cost for points in curves.values() for _, cost in points),
    )

    def x(size: float) -> float:
        share = math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(cost: float) -> float:
        share = (math.log10(cost) - decades[0]) / (decades[-1] - decades[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    heading = f"{title}: nanoseconds a sample, by the samples of one call"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<g style="{STYLE}" fill="#1f2937">',
        f'<text x="{LEFT}" y="22" style="font-size:15px">{heading}</text>',
    ]
    for decade in decades:
        at = y(10.0**decade)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**decade:g} ns</text>')
    for size in sizes[::2]:
        parts.append(
            f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{_size_text(size)}</text>'
        )
    frame = x(FRAME_SAMPLES)
    parts.append(f'<path d="M{frame:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#9ca3af" stroke-dasharray="3 3"/>')
    parts.append(f'<text x="{frame + 4:.1f}" y="{TOP + 16}" fill="#6b7280">20 ms frame</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 10}" fill="#6b7280">samples</text>')
    label_at = -math.inf
    for (name, points), colour in sorted(
        zip(curves.items(), COLOURS, strict=False), key=lambda entry: y(entry[0][1][-1][1])
    ):
        line = " ".join(f"{x(size):.1f},{y(cost):.1f}" for size, cost in points)
        label_at = max(label_at + 15, y(points[-1][1]))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{label_at + 4:.1f}" fill="{colour}">{name}</text>')
    parts += ["</g>", "</svg>", ""]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")
