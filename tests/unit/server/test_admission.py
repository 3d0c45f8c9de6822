"""The gate: one socket a stream, so many calls, and places that were promised."""

from __future__ import annotations

from fastcall.events import CallStarted
from fastcall.server.admission import DEAD_AFTER_S, RESERVED_S, CallAdmission, Refusal
from fastcall.twilio.stream_key import STREAM, StreamKey
from fastcall.twilio.stream_tokens import PARAMETER, TICKET, StreamTokens, console_tickets

SECRET = "a secret of more than sixteen characters"


class Holder:
    def __init__(self) -> None:
        self.silence_s = 0.0
        self.was_replaced = False

    def silent_s(self) -> float:
        return self.silence_s

    def replaced(self) -> None:
        self.was_replaced = True


def call(number: int, **parameters: str) -> CallStarted:
    return CallStarted(f"MZ{number}", f"CA{number}", "AC", custom_parameters=parameters)


def reason(refusal: Refusal | None) -> str | None:
    return refusal.reason if refusal is not None else None


def test_a_second_socket_of_a_living_call_is_refused_and_the_first_is_left_alone() -> None:
    gate, first, second = CallAdmission(max_calls=9), Holder(), Holder()
    assert gate.enter(call(1), first, now=0, unix_now=0) is None
    refusal = gate.enter(call(1), second, now=0, unix_now=0)
    assert refusal is not None
    assert (refusal.reason, refusal.code) == ("second_socket", 1008)
    gate.leave(StreamKey("CA1"), second)
    assert (gate.live, first.was_replaced) == (1, False)


def test_a_socket_that_is_dead_gives_its_call_to_the_next() -> None:
    gate, first, second = CallAdmission(max_calls=1), Holder(), Holder()
    assert gate.enter(call(1), first, now=0, unix_now=0) is None
    first.silence_s = DEAD_AFTER_S
    assert gate.enter(call(1), second, now=0, unix_now=0) is None
    assert first.was_replaced
    gate.leave(StreamKey("CA1"), first)
    assert gate.live == 1
    gate.leave(StreamKey("CA1"), second)
    assert gate.live == 0


def test_who_has_a_call_may_enter_it_again_by_another_stream_if_that_has_a_token_of_its_own() -> None:
    tokens = StreamTokens(SECRET)
    gate, holder = CallAdmission(max_calls=1, tokens=tokens), Holder()
    first, second = (call(1, **{PARAMETER: tokens.mint("CA1", now=1000, nonce=each * 32)}) for each in "01")
    assert gate.enter(first, holder, now=0, unix_now=1000) is None
    assert gate.holder(StreamKey("CA1")) is holder
    assert gate.enter(second, holder, now=0, unix_now=1000) is None
    assert gate.enter(second, holder, now=0, unix_now=1000) is not None
    assert (gate.live, holder.was_replaced) == (1, False)


MAIN = CallStarted("MZ1", "CA1", "AC")
FORK = CallStarted("MZ2", "CA1", "AC", custom_parameters={STREAM: "monitor"})
BOTH = CallStarted("MZ3", "CA1", "AC", ("inbound", "outbound"))


def test_each_stream_of_a_call_has_a_place() -> None:
    gate, holders = CallAdmission(max_calls=3), [Holder() for _ in range(3)]
    for start, holder in zip((MAIN, FORK, BOTH), holders, strict=True):
        assert gate.enter(start, holder, now=0, unix_now=0) is None
    keys = [StreamKey.of(start) for start in (MAIN, FORK, BOTH)]
    assert gate.streams == tuple(zip(keys, ("MZ1", "MZ2", "MZ3"), strict=True))
    assert [gate.holder(key) for key in keys] == holders
    assert reason(gate.enter(call(2), Holder(), now=0, unix_now=0)) == "no_capacity"
    assert reason(gate.enter(FORK, Holder(), now=0, unix_now=0)) == "second_socket"
    gate.leave(keys[0], holders[1])  # whose place is another
    assert gate.live == 3
    gate.leave(keys[1], holders[1])
    assert [gate.holder(key) for key in keys] == [holders[0], None, holders[2]]
    assert not any(holder.was_replaced for holder in holders)


def test_only_the_dead_socket_of_the_same_stream_is_replaced() -> None:
    gate, main, fork = CallAdmission(max_calls=9), Holder(), Holder()
    for start, holder in ((MAIN, main), (FORK, fork)):
        assert gate.enter(start, holder, now=0, unix_now=0) is None
        holder.silence_s = DEAD_AFTER_S
    assert gate.enter(FORK, Holder(), now=0, unix_now=0) is None
    assert (main.was_replaced, fork.was_replaced, gate.live) == (False, True, 2)


def test_the_stream_of_a_call_that_came_back_is_the_newer_one() -> None:
    gate, holder = CallAdmission(max_calls=9), Holder()
    for stream_sid in ("MZ1", "MZ2"):
        assert gate.enter(CallStarted(stream_sid, "CA1", "AC"), holder, now=0, unix_now=0) is None
    assert gate.streams == ((StreamKey("CA1"), "MZ2"),)


def test_a_fork_does_not_use_up_the_place_that_was_promised_to_its_call() -> None:
    gate = CallAdmission(max_calls=1)
    assert gate.reserve("CA1", now=0)
    assert reason(gate.enter(FORK, Holder(), now=0, unix_now=0)) == "no_capacity"
    assert gate.enter(MAIN, Holder(), now=0, unix_now=0) is None


def test_two_streams_of_a_call_have_a_token_each() -> None:
    tokens = StreamTokens(SECRET)
    gate = CallAdmission(max_calls=9, tokens=tokens)
    first, second = (tokens.mint("CA1", now=0, nonce=each * 32) for each in "01")
    for token, why in ((first, None), (first, "token_used"), (second, None)):
        parameters = {PARAMETER: token, **({STREAM: "monitor"} if gate.live else {})}
        start = CallStarted("MZ1", "CA1", "AC", custom_parameters=parameters)
        assert reason(gate.enter(start, Holder(), now=0, unix_now=0)) == why
    assert gate.live == 2


def test_the_last_place_is_the_last() -> None:
    gate, holder = CallAdmission(max_calls=2), Holder()
    assert [reason(gate.enter(call(n), holder, now=0, unix_now=0)) for n in range(3)] == [None, None, "no_capacity"]
    gate.leave(StreamKey("CA0"), holder)
    assert gate.may_come(now=0)
    assert gate.enter(call(3), holder, now=0, unix_now=0) is None


def test_a_reserved_place_is_kept_for_its_call_and_for_a_while() -> None:
    gate = CallAdmission(max_calls=1)
    assert gate.reserve("CA1", now=0)
    assert gate.reserve("CA1", now=1)
    assert not gate.reserve("CA2", now=1)
    assert reason(gate.enter(call(2), Holder(), now=1, unix_now=1)) == "no_capacity"
    assert gate.enter(call(1), Holder(), now=1, unix_now=1) is None
    assert not gate.reserve("CA2", now=1)
    gate = CallAdmission(max_calls=1)
    assert gate.reserve("CA1", now=0)
    assert not gate.reserve("CA3", now=RESERVED_S - 1)
    assert gate.reserve("CA2", now=RESERVED_S + 1)


def test_it_is_not_ready_before_it_is_full() -> None:
    gate = CallAdmission(max_calls=100)
    for number in range(96):
        assert gate.is_ready(now=0) is (number < 95)
        assert gate.reserve(f"CA{number}", now=0)
    assert gate.may_come(now=0)


def test_where_tokens_are_needed_one_call_has_one() -> None:
    gate = CallAdmission(max_calls=9, tokens=StreamTokens(SECRET))
    token = StreamTokens(SECRET).mint("CA1", now=0, nonce="0" * 32)
    assert reason(gate.enter(call(1), Holder(), now=1, unix_now=1)) == "token_missing"
    assert reason(gate.enter(call(2, **{PARAMETER: token}), Holder(), now=1, unix_now=1)) == "token_forged"
    assert gate.enter(call(1, **{PARAMETER: token}), Holder(), now=1, unix_now=1) is None
    gate.leave(StreamKey("CA1"), Holder())
    refusal = gate.enter(call(1, **{PARAMETER: token}), Holder(), now=1, unix_now=1)
    assert refusal is not None
    assert (refusal.reason, refusal.is_auth) == ("token_used", True)


def test_while_draining_only_calls_with_a_place_come() -> None:
    gate = CallAdmission(max_calls=9)
    assert gate.reserve("CA1", now=0)
    gate.take_no_more()
    assert not gate.is_ready(now=0)
    assert not gate.reserve("CA2", now=0)
    assert gate.may_come(now=0)
    assert reason(gate.enter(call(2), Holder(), now=0, unix_now=0)) == "no_capacity"
    assert gate.enter(call(1), Holder(), now=0, unix_now=0) is None
    assert not gate.may_come(now=0)


def test_a_ticket_of_the_console_replaces_a_token_and_passes_once() -> None:
    tickets = console_tickets(SECRET, None)
    assert tickets is not None
    gate = CallAdmission(max_calls=9, tokens=StreamTokens(SECRET), tickets=tickets)
    ticket = tickets.mint("CA1", now=0, nonce="0" * 32)
    assert reason(gate.enter(call(2, **{TICKET: ticket}), Holder(), now=0, unix_now=0)) == "token_forged"
    holder = Holder()
    assert gate.enter(call(1, **{TICKET: ticket}), holder, now=0, unix_now=0) is None
    assert gate.streams == ((StreamKey("CA1"), "MZ1"),)
    gate.leave(StreamKey("CA1"), holder)
    assert reason(gate.enter(call(1, **{TICKET: ticket}), holder, now=0, unix_now=0)) == "token_used"
    # The token is still asked of all others, and where nothing is asked a ticket is a parameter as any other.
    assert reason(gate.enter(call(1), holder, now=0, unix_now=0)) == "token_missing"
    assert CallAdmission(max_calls=9).enter(call(1, **{TICKET: "x"}), holder, now=0, unix_now=0) is None


def test_tokens_expire_by_the_wall_clock_and_places_do_not() -> None:
    gate = CallAdmission(max_calls=1, tokens=StreamTokens(SECRET))
    token = StreamTokens(SECRET).mint("CA1", now=1e9, nonce="0" * 32)
    assert gate.reserve("CA2", now=5)
    refusal = gate.enter(call(1, **{PARAMETER: token}), Holder(), now=5 + RESERVED_S, unix_now=2e9)
    assert reason(refusal) == "token_expired"
    assert gate.enter(call(1, **{PARAMETER: token}), Holder(), now=5 + RESERVED_S, unix_now=1e9 - 3600) is None
