"""Impairments of a telephone line: jitter, bursts, gaps, duplicate and reordered messages.

A plan lists for a cycle of frames what is sent when. It is drawn once, repeats, and may be shared by calls; the sending
loop follows it. Like TCP, a plan never reorders messages: swapped or duplicate frames are so before sending.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

__all__ = ["CYCLE_FRAMES", "STEADY", "LineFaults", "LinePlan", "Step", "plan_line"]

FRAME_MS = 20
CYCLE_FRAMES = 1500
MAX_MS = 10_000


class Step(NamedTuple):
    """One message of audio."""

    due_ms: float
    """Time since the start of the cycle."""
    frame: int
    """Counted from the first of the cycle."""


@dataclass(frozen=True, slots=True)
class LineFaults:
    """The line's impairments. The defaults are a perfect line.

    :raises ValueError: a number is out of range
    """

    jitter_ms: float = 0.0
    """Each frame is late by up to this, but never before the previous one."""
    burst_ms: float = 0.0
    """Every ``every_s`` seconds frames are held for so long, then sent at once."""
    gap_ms: float = 0.0
    """Every ``every_s`` seconds so much audio is dropped; the timestamps continue."""
    every_s: float = 5.0
    duplicate_share: float = 0.0
    """Share of frames sent twice, with the same timestamp."""
    reorder_share: float = 0.0
    """Share of frames sent after the next one."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), 1.0 if field.name.endswith("_share") else MAX_MS
            if not 0 <= value <= most:
                raise ValueError(f"{field.name} must be from 0 to {most:g}, not {value:g}")
        if self.every_s < 0.1:
            raise ValueError("every_s must be at least 0.1")


@dataclass(frozen=True, slots=True)
class LinePlan:
    """The steps of a cycle, in the order of sending, and how many frames long it is."""

    steps: tuple[Step, ...]
    cycle_frames: int

    def packed(self) -> bytes:
        """For the sending loop: pairs of 32-bit integers, due (us) and frame, in the machine's byte order."""
        return array("i", [n for step in self.steps for n in (round(1000 * step.due_ms), step.frame)]).tobytes()


STEADY = LinePlan((Step(0.0, 0),), 1)
"""A perfect line: frame n at 20 ms times n."""


def plan_line(faults: LineFaults, rand: Callable[[], float]) -> LinePlan:
    """A cycle of 30 s with these faults.

    :param rand: random numbers in [0, 1)
    """
    if faults == LineFaults():
        return STEADY
    every = max(1, round(1000 * faults.every_s / FRAME_MS))
    burst_at, gap_at = int(rand() * every), int(rand() * every)
    held, missing = round(faults.burst_ms / FRAME_MS), round(faults.gap_ms / FRAME_MS)
    steps: list[Step] = []
    latest_ms = 0.0
    for frame in range(CYCLE_FRAMES):
        if 0 <= (frame - gap_at) % every < missing and frame >= gap_at:
            continue
        in_burst = 0 <= (frame - burst_at) % every < held and frame >= burst_at
        begins_at = frame - (frame - burst_at) % every if in_burst else frame
        due_ms = FRAME_MS * begins_at + (faults.burst_ms if in_burst else 0.0) + faults.jitter_ms * rand()
        latest_ms = max(latest_ms, due_ms)
        steps.append(Step(latest_ms, frame))
        if rand() < faults.duplicate_share:
            steps.append(Step(latest_ms, frame))
    return LinePlan(_swapped(steps, faults.reorder_share, rand), CYCLE_FRAMES)


def _swapped(steps: list[Step], share: float, rand: Callable[[], float]) -> tuple[Step, ...]:
    """Swap some frames with the next; both are sent when the later one is due."""
    at = 0
    while share and at + 1 < len(steps):
        if rand() < share:
            later = steps[at + 1]
            steps[at], steps[at + 1] = later, Step(later.due_ms, steps[at].frame)
            at += 1
        at += 1
    return tuple(steps)
