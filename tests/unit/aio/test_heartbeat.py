"""Heartbeats, by a clock of the test's own."""

from __future__ import annotations

from fastcall.aio.heartbeat import MAX_STEP_S, Heartbeat


def looks(heart: Heartbeat, since: float, until: float) -> list[tuple[float, bool, bool]]:
    """What is seen ten times a second."""
    seen = []
    for tenth in range(round(10 * since), round(10 * until) + 1):
        heart.poll(now=tenth / 10)
        seen.append((tenth / 10, heart.is_late, heart.is_dead))
    return seen


def test_one_that_beats_is_never_late() -> None:
    heart = Heartbeat(late_s=2.0, dead_s=15.0)
    for second in range(100):
        assert not any(is_late for _, is_late, _ in looks(heart, second, second + 1))
        heart.beat()


def test_one_that_misses_a_beat_is_late_then_dead() -> None:
    heart = Heartbeat(late_s=2.0, dead_s=15.0)
    seen = looks(heart, 0, 20)
    assert next(at for at, is_late, _ in seen if is_late) in (2.0, 2.1)
    assert next(at for at, _, is_dead in seen if is_dead) in (15.0, 15.1)


def test_one_that_beats_again_is_well() -> None:
    heart = Heartbeat(late_s=2.0, dead_s=15.0)
    looks(heart, 0, 14)
    heart.beat()
    assert (heart.is_late, heart.is_dead, heart.silent_s) == (False, False, 0.0)


def test_who_was_stopped_itself_blames_nobody() -> None:
    heart = Heartbeat(late_s=2.0, dead_s=15.0)
    heart.poll(now=0.0)
    heart.poll(now=3600.0)
    assert not heart.is_late
    assert heart.silent_s == MAX_STEP_S
