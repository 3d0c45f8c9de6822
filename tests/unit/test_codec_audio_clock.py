"""When a sample was said."""

from __future__ import annotations

import pytest

from fastcall._codec import CallClock


def test_audio_at_its_pace_has_no_age_and_late_audio_has_its_lateness() -> None:
    clock = CallClock()
    for frame in range(1, 6):
        clock.heard(frame * 160, now=100 + frame * 0.02)
    assert clock.age_s(800, now=100.1) == pytest.approx(0, abs=1e-4)
    clock.heard(960, now=100.62)  # half a second late
    assert clock.age_s(960, now=100.62) == pytest.approx(0.5, abs=1e-3)
    assert clock.age_s(800, now=100.62) == pytest.approx(0.52, abs=1e-3)


def test_what_came_soonest_is_the_measure() -> None:
    clock = CallClock()
    clock.heard(160, now=10.3)
    clock.heard(320, now=10.04)  # the first was late by 280 ms
    assert clock.age_s(160, now=10.04) == pytest.approx(0.02)


def test_hours_of_drift_are_no_age() -> None:
    clock = CallClock()
    for second in range(1, 7200):
        clock.heard(second * 8000, now=second * (1 + 50e-6))
    assert clock.age_s(7199 * 8000, now=7199 * (1 + 50e-6)) < 0.01


def test_before_any_audio_nothing_has_an_age() -> None:
    assert CallClock().age_s(0, now=5) == 0.0
