"""The deadlines of a connection, state by state."""

from __future__ import annotations

from fastcall.server.watchdog import STOPPED_S, Expiry, Watchdog


def make(*, silent_s: float = 60.0, total_s: float = 0.0) -> Watchdog:
    return Watchdog(start_s=10.0, silent_s=silent_s, total_s=total_s, now=100.0)


def expiry(watchdog: Watchdog, now: float) -> tuple[str, int] | None:
    found = watchdog.poll(now=now)
    return (found.reason, found.code) if isinstance(found, Expiry) else None


def test_a_connection_waits_for_start_for_so_long_whatever_it_sends() -> None:
    watchdog = make()
    watchdog.heard(now=109.0)
    assert watchdog.next_deadline() == 110.0
    assert expiry(watchdog, 109.9) is None
    assert expiry(watchdog, 110.0) == ("start", 1008)
    assert watchdog.next_deadline() is None


def test_a_live_call_may_be_silent_for_so_long_and_each_message_counts() -> None:
    watchdog = make()
    watchdog.started(now=105.0)
    assert watchdog.next_deadline() == 165.0
    watchdog.heard(now=150.0)
    watchdog.heard(now=140.0)  # of the fast path, noted late
    assert expiry(watchdog, 165.0) is None
    assert watchdog.next_deadline() == 210.0
    assert expiry(watchdog, 210.0) == ("silent", 1008)
    assert expiry(watchdog, 1000.0) is None


def test_without_bounds_a_call_has_no_deadline() -> None:
    watchdog = make(silent_s=0.0)
    watchdog.started(now=105.0)
    assert watchdog.next_deadline() is None
    assert expiry(watchdog, 1e9) is None


def test_a_call_may_be_so_long_however_much_it_sends() -> None:
    watchdog = make(total_s=3600.0)
    watchdog.started(now=105.0)
    watchdog.heard(now=3700.0)
    assert watchdog.next_deadline() == 3705.0
    assert expiry(watchdog, 3705.0) == ("length", 1000)


def test_after_stop_the_peer_has_five_seconds_to_close() -> None:
    watchdog = make()
    watchdog.started(now=105.0)
    watchdog.stopped(now=200.0)
    watchdog.heard(now=203.0)
    assert watchdog.next_deadline() == 200.0 + STOPPED_S
    assert expiry(watchdog, 205.0) == ("stop", 1000)


def test_what_is_closed_or_closing_is_left_alone() -> None:
    watchdog = make()
    watchdog.started(now=105.0)
    watchdog.closed()
    watchdog.stopped(now=106.0)
    assert watchdog.next_deadline() is None
    assert expiry(watchdog, 1e9) is None
