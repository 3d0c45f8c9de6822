"""The table and the plot of the density benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["draw_svg", "render_table"]

COLUMNS = (
    ("design", 14, lambda s: s.design),
    ("calls", 6, lambda s: s.calls),
    ("age p50", 8, lambda s: f"{s.age_p50_ms:.1f}"),
    ("p99 ms", 8, lambda s: f"{s.age_p99_ms:.1f}"),
    ("max", 8, lambda s: f"{s.age_max_ms:.1f}"),
    ("lost", 6, lambda s: s.lost),
    ("late p99", 8, lambda s: f"{s.sent_late_p99_ms:.1f}"),
    ("req/s", 7, lambda s: f"{s.requests_a_second:.0f}"),
    ("core", 5, lambda s: f"{s.server_share:.0%}"),
    ("calls'", 6, lambda s: f"{s.callers_share:.0%}"),
    ("stt's", 5, lambda s: f"{s.recognizer_share:.0%}"),
    ("load", 5, lambda s: f"{s.load_share:.0%}"),
    ("others", 7, lambda s: f"{s.foreign_share:.0%}"),
    ("us/call-s", 10, lambda s: f"{s.call_us:.0f}"),
    ("us/msg", 7, lambda s: f"{s.message_us:.1f}"),
    ("kB/call", 8, lambda s: f"{s.call_kb:.0f}"),
)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 60, 20, 40, 50
COLOURS = ("#1a7f37", "#b35900", "#0550ae", "#8250df")


def render_table(steps: Sequence[Any], *, header: bool = True) -> list[str]:
    """A line a step."""
    lines = [" ".join(f"{name:>{width}}" for name, width, _ in COLUMNS) + "  verdict"] if header else []
    return lines + [" ".join(f"{get(s):>{width}}" for _, width, get in COLUMNS) + f"  {s.verdict}" for s in steps]


def draw_svg(steps: Sequence[Any], ceiling_ms: float) -> str:
    """The p99 of the age over the number of calls, a line a design; the scale ends at three ceilings."""
    top_ms, most = 3 * ceiling_ms, max((step.calls for step in steps), default=1)
    designs = list(dict.fromkeys(step.design for step in steps))

    def x(calls: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * calls / most

    def y(age_ms: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(age_ms, top_ms) / top_ms

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">Age of the newest audio at the recognizer (p99), '
        "over live calls on one core</text>",
        f'<line x1="{LEFT}" y1="{y(ceiling_ms):.1f}" x2="{WIDTH - RIGHT}" y2="{y(ceiling_ms):.1f}" stroke="#cf222e" '
        'stroke-dasharray="6 4"/>',
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="black"/>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">calls</text>',
    ]
    for age in (0, ceiling_ms, 2 * ceiling_ms, top_ms):
        parts.append(f'<text x="{LEFT - 8}" y="{y(age) + 4:.1f}" text-anchor="end">{age:g} ms</text>')
    for calls in sorted({step.calls for step in steps}):
        parts.append(f'<path d="M{x(calls):.1f} {HEIGHT - BOTTOM}v5" stroke="black"/>')
    for part in range(5):
        calls = most * part / 4
        parts.append(f'<text x="{x(calls):.1f}" y="{HEIGHT - 30}" text-anchor="middle">{calls:.0f}</text>')
    for index, design in enumerate(designs):
        colour = COLOURS[index % len(COLOURS)]
        # Of a number of calls that was taken more than once the last counts.
        last = {step.calls: step for step in steps if step.design == design}
        own = [last[calls] for calls in sorted(last)]
        line = " ".join(f"{x(step.calls):.1f},{y(step.age_p99_ms):.1f}" for step in own)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for step in own:
            fill = colour if step.good else "white"
            parts.append(
                f'<circle cx="{x(step.calls):.1f}" cy="{y(step.age_p99_ms):.1f}" r="4" fill="{fill}" '
                f'stroke="{colour}" stroke-width="2"><title>{step.calls}: {step.age_p99_ms:.1f} ms, '
                f"{step.verdict}</title></circle>"
            )
        parts.append(f'<text x="{LEFT + 15}" y="{TOP + 20 + 18 * index}" fill="{colour}">{design}</text>')
    parts.append("</svg>\n")
    return "\n".join(parts)
