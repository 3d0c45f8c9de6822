"""When a recognizer that says nothing is given up."""

from __future__ import annotations

from fastcall.recognition.stall import NO_WORDS_S, STALL_S, StallRule, WordlessRule
from footprint import footprint

S = 8000


def stalled(rule: StallRule, now: float, *, heard_to: int = 0, caught_up_since: float | None = 0.0) -> bool:
    return rule.is_stalled(heard_to=heard_to, call_end=int(now * S), caught_up_since=caught_up_since, now=now)


def test_speech_without_a_result_is_a_stall_after_a_while() -> None:
    rule = StallRule()
    assert not stalled(rule, 1000.0)  # nobody spoke
    rule.note_speech(True, 10 * S, now=10.0)
    assert not stalled(rule, 10.0 + STALL_S - 0.1, heard_to=10 * S)
    assert stalled(rule, 10.0 + STALL_S, heard_to=10 * S)


def test_results_while_somebody_speaks_put_it_off() -> None:
    rule = StallRule()
    rule.note_speech(True, 10 * S, now=10.0)
    rule.answered(settled_to=0, now=15.0)
    assert not stalled(rule, 20.0, heard_to=15 * S)
    assert stalled(rule, 23.0, heard_to=15 * S)


def test_a_cough_and_a_detector_that_stops_late_are_none() -> None:
    rule = StallRule()
    rule.note_speech(True, 10 * S, now=10.0)
    rule.note_speech(False, int(11.9 * S), now=12.4)
    assert not stalled(rule, 100.0, heard_to=9 * S)
    rule.note_speech(True, 50 * S, now=50.0)
    rule.note_speech(False, int(50.2 * S), now=50.7)
    assert stalled(rule, 100.0, heard_to=9 * S)


def test_noise_now_and_then_is_none_however_far_apart() -> None:
    rule = StallRule()
    for second in range(10, 30, 5):
        rule.note_speech(True, second * S, now=float(second))
        rule.note_speech(False, int((second + 0.3) * S), now=second + 0.8)
    assert not stalled(rule, 100.0, heard_to=9 * S)


def test_a_stream_that_has_not_had_the_audio_cannot_have_stalled() -> None:
    rule = StallRule()
    rule.note_speech(True, 10 * S, now=10.0)
    assert not stalled(rule, 100.0, caught_up_since=None)
    assert not stalled(rule, 100.0, caught_up_since=100.0 - STALL_S + 0.1)
    assert stalled(rule, 100.0, caught_up_since=100.0 - STALL_S)


def test_patience_doubles_until_there_is_a_result() -> None:
    rule = StallRule()
    rule.note_speech(True, 10 * S, now=10.0)
    assert stalled(rule, 10.0 + STALL_S)
    rule.reported()
    assert not stalled(rule, 10.0 + 2 * STALL_S - 0.1)
    assert stalled(rule, 10.0 + 2 * STALL_S)
    rule.reported()
    rule.answered(settled_to=0, now=50.0)
    assert stalled(rule, 50.0 + STALL_S)


def test_who_goes_on_speaking_in_short_utterances_takes_no_patience_back() -> None:
    rule = StallRule()
    rule.answered(settled_to=0, now=9.0)
    for second in range(10, 18, 2):
        rule.note_speech(True, second * S, now=float(second))
        rule.note_speech(False, (second + 1) * S, now=second + 1.5)
    assert not stalled(rule, 10.0 + STALL_S - 0.1, heard_to=9 * S)
    assert stalled(rule, 10.0 + STALL_S, heard_to=9 * S)
    rule.answered(settled_to=0, now=19.0)
    rule.note_speech(True, 30 * S, now=30.0)
    assert not stalled(rule, 30.0 + STALL_S - 0.1, heard_to=19 * S)


def test_what_is_settled_is_forgotten() -> None:
    rule, sizes = StallRule(), set()
    for second in range(0, 100, 5):
        rule.note_speech(True, second * S, now=float(second))
        rule.note_speech(False, (second + 1) * S, now=second + 1.5)
        rule.answered(settled_to=(second - 4) * S, now=second + 2.0)
        sizes.add(footprint(rule)[1]["tuple"])
    assert sizes == {1}


def doubted(rule: StallRule, now: float, *, heard_to: int, caught_up_since: float | None = 0.0) -> bool:
    return rule.is_in_doubt(heard_to=heard_to, caught_up_since=caught_up_since, now=now)


def test_a_word_without_a_result_is_a_doubt_after_a_while() -> None:
    rule = StallRule()
    assert not doubted(rule, 1000.0, heard_to=0)  # nobody spoke
    rule.note_speech(True, 10 * S, now=10.0)
    assert not doubted(rule, 100.0, heard_to=9 * S)  # that is a stall, or not yet known
    rule.note_speech(False, int(10.4 * S), now=10.9)
    assert not doubted(rule, 10.0 + STALL_S - 0.1, heard_to=9 * S)
    assert doubted(rule, 10.0 + STALL_S, heard_to=9 * S)
    assert not doubted(rule, 10.0 + STALL_S, heard_to=9 * S, caught_up_since=None)
    assert not doubted(rule, 10.0 + STALL_S, heard_to=int(10.2 * S))  # detectors stop late
    assert not stalled(rule, 10.0 + STALL_S, heard_to=9 * S)
    rule.reported()
    assert not doubted(rule, 10.0 + STALL_S, heard_to=9 * S)
    assert doubted(rule, 10.0 + 2 * STALL_S, heard_to=9 * S)


def lack(rule: WordlessRule, now: float, caught_up_since: float | None = 0.0) -> int | None:
    return rule.take_trouble(call_end=int(now * S), caught_up_since=caught_up_since, now=now)


def test_speech_without_words_is_told_once_until_words_come() -> None:
    rule = WordlessRule()
    assert lack(rule, 1000.0) is None  # nobody spoke
    rule.note_speech(True, 10 * S, now=10.0)
    assert lack(rule, 10.0 + NO_WORDS_S - 0.1) is None
    assert lack(rule, 10.0 + NO_WORDS_S) == 10 * S
    assert lack(rule, 100.0) is None
    rule.words_came(call_end=100 * S, now=100.0)
    assert lack(rule, 100.0 + NO_WORDS_S - 0.1) is None
    assert lack(rule, 100.0 + NO_WORDS_S) == 100 * S


def test_speech_adds_up_over_utterances_and_silence_does_not() -> None:
    rule = WordlessRule()
    for second in (10, 20, 30):
        rule.note_speech(True, second * S, now=float(second))
        rule.note_speech(False, (second + 2) * S, now=second + 2.5)
        assert lack(rule, second + 9.0) == (10 * S if second == 30 else None)


def test_a_recognizer_that_has_not_had_the_speech_cannot_have_words_for_it() -> None:
    rule = WordlessRule()
    rule.note_speech(True, 0, now=0.0)
    assert lack(rule, 100.0, None) is None
    assert lack(rule, 100.0, 100.0 - NO_WORDS_S + 0.1) is None
    assert lack(rule, 100.0, 100.0 - NO_WORDS_S) == 0
