"""When the fallback is asked, what its answer settles, and what it does not."""

from __future__ import annotations

from array import array

import pytest

from fastcall.recognition.fallback_policy import FallbackAsk, FallbackRule, SettledSpan, quietest_sample

S = 8000
LIMIT = 90 * S
PAUSE = S // 2


class Call:
    """A call on a rule, in seconds. A cut is made 0.25 s before where it must be at the latest."""

    def __init__(self, trouble: str = "", *, limit: int = LIMIT) -> None:
        self.rule = FallbackRule(limit_samples=limit)
        self.settled_end = 0
        self.now = 0.0
        if trouble:
            self.rule.note_trouble(trouble, now=0.0)

    def quietest(self, low: int, high: int) -> int:
        return max(low, high - S // 4)

    def note(self, speaking: bool, at_s: float, *, call_end_s: float) -> None:
        self.now = call_end_s
        self.rule.note_speech(
            speaking, int(at_s * S), call_end=int(call_end_s * S), now=self.now, quietest=self.quietest
        )

    def say(self, start_s: float, end_s: float, *, hangover_s: float = 0.5) -> None:
        """An utterance, up to the moment in which its end is told."""
        self.note(True, start_s, call_end_s=start_s + 0.3)
        self.note(False, end_s, call_end_s=end_s + hangover_s)

    def asks(self, *, now: float | None = None, call_end_s: float | None = None) -> list[FallbackAsk]:
        self.now = self.now if now is None else now
        call_end = int((self.now if call_end_s is None else call_end_s) * S)
        return self.rule.asks(settled_end=self.settled_end, call_end=call_end, now=self.now, quietest=self.quietest)

    def settle(self, at_s: float) -> None:
        self.settled_end = int(at_s * S)
        self.rule.settled(self.settled_end)

    def take(self, known_to_s: float = 0.0) -> list[tuple[float, float, str]]:
        return [(s.start / S, s.end / S, s.text) for s in self.settled(known_to_s)]

    def settled(self, known_to_s: float = 0.0) -> list[SettledSpan]:
        return list(iter(lambda: self.rule.take_settled(lambda end: end <= known_to_s * S), None))


def spans(asks: list[FallbackAsk]) -> list[tuple[float, float]]:
    return [(ask.start / S, ask.end / S) for ask in asks]


# --- when it is asked ----------------------------------------------------------------------------------------


def test_while_the_recognizer_serves_nothing_is_asked() -> None:
    call = Call()
    call.say(1, 3)
    assert call.asks(now=100) == []
    assert call.rule.next_deadline() is None


@pytest.mark.parametrize("trouble", ["outage", "failed", "off"])
def test_an_utterance_that_ends_in_trouble_is_asked_for_at_once_with_its_own_audio(trouble: str) -> None:
    call = Call(trouble)
    call.say(1, 3)
    assert call.asks() == [
        # Something before, for late detectors and soft words; a little after, for soft endings.
        FallbackAsk(1, int(0.9 * S) if trouble == "off" else 0, 3 * S, 3 * S, int(3.2 * S), trouble, urgent=True)
    ]
    assert call.asks() == []  # once


def test_what_had_ended_before_the_trouble_is_asked_for_when_that_lasts() -> None:
    call = Call()
    call.say(1, 3)
    call.rule.note_trouble("outage", now=4.0)
    assert call.asks(now=5.9) == []
    assert call.rule.next_deadline() == 6.0
    assert spans(call.asks(now=6.0)) == [(0.0, 3.0)]


def test_or_when_a_later_one_is_asked_for_because_spans_settle_in_order() -> None:
    call = Call()
    call.say(1, 3)
    call.rule.note_trouble("outage", now=3.6)
    call.say(3.7, 4.2)
    assert spans(call.asks()) == [(0.0, 3.0), (3.0, 4.2)]


def test_a_trouble_that_is_over_asks_for_nothing_more() -> None:
    call = Call()
    call.say(1, 3)
    call.rule.note_trouble("outage", now=4.0)
    call.rule.note_trouble("", now=5.0)
    assert call.asks(now=60) == []


def test_finals_leave_only_the_rest_to_ask_for() -> None:
    call = Call()
    call.note(True, 1, call_end_s=1.3)
    call.settle(2)
    call.rule.note_trouble("outage", now=2.5)
    call.note(False, 4, call_end_s=4.5)
    assert spans(call.asks()) == [(2.0, 4.0)]


@pytest.mark.parametrize(
    ("final_s", "is_asked"), [(2.5, True), (2.69, True), (2.75, False), (3.0, False), (9.0, False)]
)
def test_an_utterance_that_finals_cover_is_not_asked_for(final_s: float, is_asked: bool) -> None:
    call = Call()
    call.say(1, 3)
    call.settle(final_s)
    call.rule.note_trouble("outage", now=4.0)
    assert bool(call.asks(now=10)) is is_asked


def test_audio_that_is_not_kept_any_more_cannot_be_asked_for() -> None:
    call = Call()
    call.say(1, 3)
    call.rule.forgotten(3 * S)
    call.rule.note_trouble("outage", now=4.0)
    assert call.asks(now=10) == []


# --- what an answer settles ----------------------------------------------------------------------------------


def test_texts_are_handed_out_in_order_and_once() -> None:
    call = Call("outage")
    call.say(1, 3)
    call.say(5, 6)
    first, second = call.asks()
    call.rule.answered(second.number, "two")
    assert call.take() == []
    call.rule.answered(first.number, "one")
    assert call.take() == [(1.0, 3.0, "one"), (5.0, 6.0, "two")]
    assert call.take() == []


def test_a_final_that_comes_first_voids_the_answer() -> None:
    call = Call("outage")
    call.say(1, 3)
    (ask,) = call.asks()
    call.settle(3.1)
    assert call.rule.end_of(ask.number) is None
    call.rule.answered(ask.number, "late")
    assert call.take() == []


def test_a_final_that_cuts_a_span_voids_its_answer_and_the_rest_is_asked_for_anew() -> None:
    call = Call("outage")
    call.say(1, 5)
    (ask,) = call.asks()
    call.settle(2.0)
    call.rule.answered(ask.number, "words of before and after two seconds")
    assert call.take() == []
    (rest,) = call.asks()
    assert (rest.start, rest.end) == (2 * S, 5 * S)
    call.rule.answered(rest.number, "after")
    assert call.take() == [(2.0, 5.0, "after")]


def test_a_final_that_ends_where_the_span_begins_but_for_rounding_cuts_no_word() -> None:
    call = Call("outage")
    call.say(1, 5)
    (ask,) = call.asks()
    call.settle(1.05)
    call.rule.answered(ask.number, "all")
    assert call.take() == [(1.0, 5.0, "all")]


def test_silence_is_the_recognizers_if_it_comes_back_before_later_words_are_settled() -> None:
    call = Call("outage")
    call.say(1, 3)
    (ask,) = call.asks()
    call.rule.answered(ask.number, "")
    assert call.take() == []
    assert call.rule.unanswered == []
    call.say(5, 6)
    (ask,) = call.asks()
    call.rule.answered(ask.number, "words")
    assert call.take() == [(5.0, 6.0, "words")]


@pytest.mark.parametrize("trouble", ["failed", "off"])
def test_silence_is_settled_where_no_recognizer_will_come_back(trouble: str) -> None:
    call = Call(trouble)
    call.say(1, 3)
    (ask,) = call.asks()
    call.rule.answered(ask.number, "")
    assert call.take() == [(1.0, 3.0, "")]


def test_what_fails_is_asked_for_once_more_a_second_later_and_then_given_up() -> None:
    call = Call("outage")
    call.say(1, 3)
    (ask,) = call.asks()
    assert call.rule.failed(ask.number, now=4.0) is False
    call.say(3.6, 3.9)
    later = call.asks(now=4.5)
    assert spans(later) == [(3.0, 3.9)]  # the first waits for its time, and keeps the other waiting
    call.rule.answered(later[0].number, "later")
    assert call.take() == []
    assert call.rule.next_deadline() == 5.0
    (again,) = call.asks(now=5.0)
    assert call.rule.failed(again.number, now=6.0) is True
    assert call.take() == [(3.6, 3.9, "later")]
    assert call.asks(now=60.0) == []


def test_an_answer_that_the_recognizer_has_as_well_is_withdrawn_and_asked_for_in_the_next_trouble() -> None:
    call = Call("outage")
    call.say(1, 3)
    (ask,) = call.asks()
    call.rule.note_trouble("", now=5.0)
    call.rule.answered(ask.number, "late")
    assert call.take(known_to_s=3.0) == []
    call.rule.note_trouble("outage", now=8.0)
    assert spans(call.asks(now=10.0)) == [(0.0, 3.0)]


# --- words at a border ---------------------------------------------------------------------------------------


def test_an_utterance_that_ends_without_a_pause_is_cut_where_it_is_quiet_and_its_rest_goes_with_what_follows() -> None:
    call = Call("outage")
    call.say(1, 6, hangover_s=0.0)
    (ask,) = call.asks()
    assert (ask.end, ask.voice_end, ask.audio_end) == (int(5.75 * S), 6 * S, int(5.75 * S))
    call.note(True, 6, call_end_s=6.3)
    call.note(False, 8, call_end_s=8.5)
    (rest,) = call.asks()
    assert (rest.start, rest.end) == (int(5.75 * S), 8 * S)


def test_the_rest_of_a_cut_utterance_is_a_span_of_its_own_if_nothing_follows_at_once() -> None:
    call = Call("outage")
    call.say(1, 6, hangover_s=0.0)
    call.asks()
    call.note(True, 9, call_end_s=9.3)
    (rest,) = call.asks()
    assert (rest.start, rest.end, rest.audio_end) == (int(5.75 * S), 6 * S, int(6.2 * S))


def test_the_rest_of_the_last_utterance_is_asked_for_when_no_more_audio_comes() -> None:
    call = Call("outage")
    call.say(1, 6, hangover_s=0.0)
    call.asks()
    call.rule.finish(now=6.0)
    (rest,) = call.asks(call_end_s=6.0)
    assert (rest.start, rest.end, rest.audio_end) == (int(5.75 * S), 6 * S, 6 * S)


@pytest.mark.parametrize(
    ("loud", "quiet_at"), [([(0, 8000)], 7920), ([(0, 3000), (3200, 8000)], 3120), ([(0, 4000)], 7920)]
)
def test_the_quietest_moment(loud: list[tuple[int, int]], quiet_at: int) -> None:
    pcm = array("h", [0] * 8000)
    for low, high in loud:
        for i in range(low, high):
            pcm[i] = 9000 if i % 2 else -9000
    assert quietest_sample(pcm.tobytes()) == quiet_at


def test_the_quietest_moment_of_almost_nothing() -> None:
    assert quietest_sample(b"") == 0
    assert quietest_sample(bytes(20)) == 10


# --- the bound -----------------------------------------------------------------------------------------------


def test_audio_is_asked_for_in_pieces_before_it_outgrows_the_bound() -> None:
    call = Call("outage")
    assert call.asks(now=70) == []
    (piece,) = call.asks(now=70.1)
    assert (piece.start, piece.end, piece.reason, piece.urgent) == (0, int(24.75 * S), "bound", False)
    call.rule.answered(piece.number, "words")
    assert call.take() == [(0.0, 24.75, "words")]
    call.settle(24.75)
    assert call.asks(now=94.7) == []
    assert spans(call.asks(now=94.8)) == [(24.75, 49.5)]


def test_silence_in_a_piece_is_settled_because_it_would_be_lost() -> None:
    call = Call("outage")
    (piece,) = call.asks(now=71)
    call.rule.answered(piece.number, "")
    assert call.take() == [(0.0, 24.75, "")]


def test_a_piece_without_an_answer_stays_the_recognizers_as_long_as_it_is_kept() -> None:
    call = Call("outage")
    (piece,) = call.asks(now=71)
    call.rule.failed(piece.number, now=72)
    (piece,) = call.asks(now=73)
    call.rule.failed(piece.number, now=74)
    assert call.take() == []


@pytest.mark.parametrize("is_over", [False, True])
def test_a_piece_in_which_nobody_was_heard_is_settled_without_asking(is_over: bool) -> None:
    call = Call("outage")
    call.note(True, 20, call_end_s=20.3)
    if is_over:
        call.note(False, 22, call_end_s=22.5)
        (utterance,) = call.asks()
        assert utterance.start == 19 * S
    assert call.asks(now=71) == []
    assert call.take() == [(0.0, 19.9, "")]
    call.settle(19.9)
    if not is_over:
        assert spans(call.asks(now=91)) == [(19.9, 44.65)]  # of the utterance that goes on


def test_a_detector_that_never_heard_anybody_may_be_deaf_and_its_silence_is_asked_for() -> None:
    call = Call("outage")
    call.note(False, 0, call_end_s=0.1)
    assert spans(call.asks(now=71)) == [(0.0, 24.75)]


def test_an_utterance_longer_than_the_bound_is_heard_in_pieces_and_its_end_alone() -> None:
    call = Call("off", limit=30 * S)
    call.note(True, 1, call_end_s=1.3)
    call.settled_end = 1 * S  # as the history has it: silence before is not kept
    (piece,) = call.asks(now=20)
    assert (piece.start, piece.end) == (1 * S, int(18.75 * S))
    call.rule.answered(piece.number, "first")
    assert call.take() == [(1.0, 18.75, "first")]
    call.settle(18.75)
    call.note(False, 25, call_end_s=25.5)
    (last,) = call.asks()
    assert (last.start, last.end) == (int(18.75 * S), 25 * S)


def test_without_a_recognizer_silence_need_not_be_kept() -> None:
    call = Call("off")
    assert call.rule.unneeded_before(60 * S) == 56 * S - 800
    call.note(True, 50, call_end_s=50.3)
    assert call.rule.unneeded_before(60 * S) == 50 * S - 800
    call.note(False, 55, call_end_s=55.5)
    assert call.rule.unneeded_before(99 * S) == 50 * S - 800


def test_the_number_of_spans_is_bounded() -> None:
    call = Call()
    for second in range(1000):
        call.say(second, second + 0.4)
    call.rule.note_trouble("outage", now=call.now)
    assert len(call.asks(now=call.now + 10)) <= 64


def test_a_text_says_whether_it_ends_where_there_was_no_pause() -> None:
    call = Call("outage")
    call.note(True, 1.0, call_end_s=1.3)
    call.note(False, 5.0, call_end_s=5.0)  # it was long, and is ended while somebody speaks
    call.note(True, 5.0, call_end_s=5.3)
    call.note(False, 7.0, call_end_s=7.5)
    for ask in call.asks():
        call.rule.answered(ask.number, "words")
    assert [(span.end / S, span.is_cut) for span in call.settled()] == [
        (4.75, True),
        (7.0, False),
    ]


@pytest.mark.parametrize(("onset_s", "is_cut"), [(None, True), (0.05, True), (20.0, False)])
def test_a_piece_is_cut_but_before_an_onset(onset_s: float | None, is_cut: bool) -> None:
    call = Call("outage")
    if onset_s is not None:
        call.note(True, onset_s, call_end_s=onset_s + 0.3)
    for ask in call.asks(call_end_s=71):
        call.rule.answered(ask.number, "words")
    span, *_ = call.settled()
    assert span.is_cut == is_cut


def test_a_text_that_is_settled_with_the_one_before_is_not_taken() -> None:
    call = Call("outage")
    call.say(1.0, 3.0)
    call.say(4.0, 6.0)
    for ask in call.asks():
        call.rule.answered(ask.number, "words")
    span = call.rule.take_settled(lambda _: False)
    assert span is not None
    assert span.end == 3 * S
    call.settle(7.0)  # as when words that nobody hears any more were committed
    assert call.settled() == []
