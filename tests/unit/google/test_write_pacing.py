"""When a connection's next write is due."""

from __future__ import annotations

import pytest

from fastcall.google.write_pacing import WritePacing


class Thread:
    """Uses a share of a core, by the clock that the test keeps."""

    def __init__(self, share: float) -> None:
        self.share, self.now, self.used_s, self.asked = share, 100.0, 7.0, 0
        self.pacing = WritePacing(every_s=0.003, busy_share=1 / 3, cpu_s=self.cpu_s)

    def cpu_s(self) -> float:
        self.asked += 1
        return self.used_s

    def run(self, seconds: float) -> None:
        self.now += seconds
        self.used_s += self.share * seconds

    def write(self) -> float:
        wait_s = self.pacing.wait_s(now=self.now)
        self.pacing.written(now=self.now + wait_s)
        return wait_s


def test_nothing_waits_while_the_thread_is_not_busy() -> None:
    thread = Thread(0.3)
    for _ in range(3000):
        assert thread.write() == 0.0
        thread.run(0.001)


def test_writes_of_a_busy_thread_have_a_distance() -> None:
    thread = Thread(0.4)
    thread.write()
    thread.run(1.0)
    assert thread.write() == 0.0  # the last was long ago
    thread.run(0.001)
    assert thread.pacing.wait_s(now=thread.now) == pytest.approx(0.002)
    thread.run(0.01)
    assert thread.write() == 0.0


def test_a_thread_that_was_busy_and_is_not_any_more() -> None:
    thread = Thread(0.9)
    thread.write()
    thread.run(1.0)
    thread.write()
    thread.share = 0.1
    thread.run(1.0)
    thread.write()
    thread.run(0.001)
    assert thread.write() == 0.0


def test_it_asks_for_the_time_used_once_a_second() -> None:
    thread = Thread(0.9)
    for _ in range(2500):
        thread.write()
        thread.run(0.001)
    assert thread.asked == 3
