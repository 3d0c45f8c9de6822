"""The budget of messages: bursts after a stall pass, floods do not."""

from __future__ import annotations

from fastcall.server.rate_limit import BURST, BURST_BEFORE_START, RATE_PER_S, MessageRateLimit


def takes(budget: MessageRateLimit, length: int, *, now: float) -> bool:
    return budget.spend(length) or budget.refill(now=now)


def started(*, now: float) -> MessageRateLimit:
    budget = MessageRateLimit()
    budget.started(now=now)
    return budget


def test_before_start_little_may_come_however_slowly() -> None:
    budget = MessageRateLimit()
    assert sum(takes(budget, 0, now=float(number)) for number in range(BURST)) == BURST_BEFORE_START


def test_a_long_start_has_room() -> None:
    assert takes(MessageRateLimit(), 64 * 1024, now=0.0)


def test_start_gives_a_call_its_burst_once() -> None:
    budget = MessageRateLimit()
    assert all(takes(budget, 0, now=0.0) for _ in range(BURST_BEFORE_START))
    for _ in range(2):
        budget.started(now=5.0)
    assert sum(takes(budget, 0, now=5.0) for _ in range(2 * BURST)) == BURST - BURST_BEFORE_START


def test_a_call_of_a_day_at_its_pace_passes() -> None:
    budget = started(now=0.0)
    assert all(takes(budget, 400, now=number / 100) for number in range(100_000))


def test_what_was_kept_during_two_minutes_may_come_at_once_and_no_more() -> None:
    budget = started(now=10.0)
    assert all(takes(budget, 400, now=130.0) for _ in range(BURST))
    # What the two minutes gained fills the bucket, and no more than that.
    assert [takes(budget, 400, now=130.0) for _ in range(BURST + 2)].count(False) == 1


def test_a_flood_is_told_at_the_end_of_the_bucket() -> None:
    budget = started(now=0.0)
    flood_per_s = RATE_PER_S * 10
    taken = 0
    while takes(budget, 400, now=taken / flood_per_s):
        taken += 1
    assert BURST <= taken <= BURST * 1.2


def test_short_messages_may_be_counted_together_as_far_as_there_are_left() -> None:
    one_by_one, together = started(now=0.0), started(now=0.0)
    for budget in (one_by_one, together):
        assert sum(takes(budget, 400, now=0.1) for _ in range(BURST + 1)) == BURST + 1, "and 20 by time"
        assert takes(budget, 3000, now=0.1)
    assert together.messages_left == 16
    together.spend_short(16)
    assert all(takes(one_by_one, 1023, now=0.1) for _ in range(16))
    for budget in (one_by_one, together):
        assert budget.messages_left == 0
        assert not takes(budget, 400, now=0.1)
        assert budget.messages_left == 0
        assert not takes(budget, 400, now=0.1 + 1.9 / RATE_PER_S)
        assert takes(budget, 400, now=0.1 + 4 / RATE_PER_S)


def test_long_messages_cost_more() -> None:
    budget = started(now=0.0)
    assert sum(takes(budget, 64 * 1024, now=0.0) for _ in range(BURST)) == BURST // 65
