"""Each word in exactly one utterance, each utterance committed in time: against random calls and recognizers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.events import RecognitionEvent, TranscriptEvent, Word
from fastcall.recognition.ledger import TranscriptLedger
from footprint import footprint

COMMIT_S = 0.3
DEBOUNCE_S = 0.18
TOLERANCE_S = 0.3


def at_sample(seconds: float) -> int:
    return round(seconds * 8000)


def interim(text: str, end_s: float) -> RecognitionEvent:
    return RecognitionEvent("interim", text, at_sample(end_s), "emulator")


def final(text: str, end_s: float, words: tuple[Word, ...] = ()) -> RecognitionEvent:
    return RecognitionEvent("final", text, at_sample(end_s), "emulator", words)


def word(text: str, start_s: float, end_s: float) -> Word:
    return Word(text, at_sample(start_s), at_sample(end_s))


class Observer:
    """Feeds a ledger, keeps what comes out with its time, and calls ``handle_deadline`` when it is due."""

    def __init__(self) -> None:
        self.ledger = TranscriptLedger(commit_s=COMMIT_S, debounce_s=DEBOUNCE_S)
        self.events: list[tuple[float, TranscriptEvent]] = []
        self.now = 0.0

    def _take(self) -> None:
        self.events += [(self.now, event) for event in self.ledger.take()]

    def advance(self, to: float) -> None:
        """Time passes; whatever is due happens when it is due."""
        while (due_at := self.ledger.next_deadline()) is not None and due_at <= to:
            assert due_at >= self.now - 1e-9, "a deadline that lay in the past although it was handled"
            self.now = max(self.now, due_at)
            self.ledger.handle_deadline(now=self.now)
            self._take()
        self.now = max(self.now, to)

    def begin(self, at: float, start_s: float, voice_s: float | None = None) -> int:
        self.advance(at)
        voice_sample = None if voice_s is None else at_sample(voice_s)
        utterance_id = self.ledger.begin(at_sample(start_s), now=self.now, voice_sample=voice_sample)
        self._take()
        return utterance_id

    def end(self, at: float, end_s: float) -> int | None:
        self.advance(at)
        utterance_id = self.ledger.end(at_sample(end_s), now=self.now)
        self._take()
        return utterance_id

    def receive(self, at: float, event: RecognitionEvent) -> None:
        self.advance(at)
        self.ledger.receive(event, now=self.now)
        self._take()

    def finish(self, at: float) -> None:
        self.advance(at)
        self.ledger.finish(now=self.now)
        self._take()

    def of(self, name: str) -> list[tuple[int | None, str | None]]:
        return [(event.utterance_id, event.text) for _, event in self.events if event.event == name]

    def texts(self) -> dict[int, str]:
        """The text that each utterance has in the end."""
        texts: dict[int, str] = {}
        for _, event in self.events:
            if event.event in ("utterance_end", "amended"):
                assert event.utterance_id is not None
                texts[event.utterance_id] = event.text or ""
        return texts

    def check_order_of_events(self) -> None:
        """What holds for every call, whatever the recognizer does."""
        began: list[int] = []
        committed: dict[int, str] = {}
        partials: dict[int, list[str]] = defaultdict(list)
        partial_times: list[float] = []
        for at, event in self.events:
            utterance_id = event.utterance_id
            assert utterance_id is not None
            if event.event == "utterance_begin":
                assert utterance_id not in began
                began.append(utterance_id)
                continue
            assert utterance_id in began
            if event.event == "partial":
                assert utterance_id not in committed, "a partial after utterance_end"
                assert event.text
                assert partials[utterance_id][-1:] != [event.text], "a repeated partial"
                partials[utterance_id].append(event.text)
                partial_times.append(at)
            elif event.event == "utterance_end":
                assert utterance_id not in committed, "committed twice"
                committed[utterance_id] = event.text or ""
            elif event.event == "amended":
                assert committed.get(utterance_id) not in (None, event.text), "amended without a change"
                committed[utterance_id] = event.text or ""
            else:
                assert event.event == "final"
        assert sorted(committed) == sorted(began), "an utterance that was begun and never committed"
        assert all(later - earlier >= DEBOUNCE_S - 1e-9 for earlier, later in pairwise(partial_times))


# --- a random call -----------------------------------------------------------------------------------------


@dataclass
class Spoken:
    """What one utterance's speaker says; the endpointer notices it, or does not."""

    start_s: float
    end_s: float
    words: list[Word]
    is_noticed: bool = True
    utterance_id: int = 0


@dataclass
class Script:
    """One call: what is said, and what the recognizer makes of it."""

    spoken: list[Spoken]
    finals: list[tuple[float, RecognitionEvent]]
    interims: list[tuple[float, RecognitionEvent]]
    over_s: float
    observer: Observer = field(default_factory=Observer)

    @property
    def final_words(self) -> list[str]:
        return [text for _, event in self.finals for text in event.text.split()]

    def run(self) -> Observer:
        steps: list[tuple[float, int, object]] = []
        floor_s = 0.0
        for one in self.spoken:
            if one.is_noticed:
                # As the endpointer does: noticed after 60 ms of voice, with 300 ms before it; over after 500 ms.
                start_s = max(floor_s, one.start_s - 0.3, 0.0)
                floor_s = one.end_s
                steps += [(one.start_s + 0.06, 0, (one, start_s)), (one.end_s + 0.5, 0, (one, None))]
        steps += [(at, 1, event) for at, event in self.interims]
        steps += [(at, 2, event) for at, event in self.finals]
        steps.sort(key=lambda step: step[:2])
        observer = self.observer
        for at, _, step in steps:
            if isinstance(step, RecognitionEvent):
                observer.receive(at, step)
            else:
                assert isinstance(step, tuple)
                one, start_s = step
                if start_s is None:
                    assert observer.end(at, one.end_s) == one.utterance_id
                else:
                    one.utterance_id = observer.begin(at, start_s, one.start_s)
        observer.finish(self.over_s)
        return observer


VOCABULARY = st.sampled_from(["yes", "no", "one", "two", "Tuesday.", "table", "please,", "the"])


@st.composite
def speech(draw: st.DrawFn, *, may_be_missed: bool) -> list[Spoken]:
    """Utterances with pauses that an endpointer takes for such; words touch or have short gaps; words repeat."""
    spoken = []
    at = draw(st.integers(200, 1500)) / 1000
    for _ in range(draw(st.integers(1, 6))):
        start, words = at, []
        for _ in range(draw(st.integers(1, 6))):
            length = draw(st.integers(80, 500)) / 1000
            words.append(word(draw(VOCABULARY), at, at + length))
            at += length + draw(st.sampled_from([0, 0, 0.05, 0.2]))
        end = words[-1].end_sample / 8000
        noticed = not may_be_missed or draw(st.integers(0, 4)) > 0
        spoken.append(Spoken(start, end, words, noticed))
        at = end + draw(st.sampled_from([0.7, 0.9, 1.5, 4.0]))
    return spoken


def cut_into_finals(
    draw: st.DrawFn, spoken: list[Spoken], *, word_times: bool, orderly: bool
) -> list[tuple[float, RecognitionEvent]]:
    """Finals of one word to all words, whose ends lie between the words, each late by 0 to 3 s.

    Orderly: none ends within 300 ms of an end of speech without having all words before it. (Such a final covers the
    utterance by definition, and what it leaves out can come only as an amendment.)
    """
    words = [w for one in spoken for w in one.words]
    finals: list[tuple[float, RecognitionEvent]] = []
    done, arrives_at = 0, 0.0
    while done < len(words):
        count = draw(st.integers(1, len(words) - done))
        if orderly:
            while not _is_orderly_cut(spoken, words, done + count):
                count += 1
        part, done = words[done : done + count], done + count
        earliest = latest = part[-1].end_sample
        if done == len(words):
            latest += 8000
        elif not orderly or any(words[done] is one.words[0] for one in spoken):
            latest = words[done].start_sample
        end_s = draw(st.integers(earliest, latest)) / 8000
        arrives_at = max(arrives_at, end_s + draw(st.sampled_from([0.0, 0.1, 0.9, 3.0])))
        times = tuple(part) if word_times else ()
        finals.append((arrives_at, final(" ".join(w.text for w in part), end_s, times)))
    return finals


def _is_orderly_cut(spoken: list[Spoken], words: list[Word], done: int) -> bool:
    if done == len(words):
        return True
    said_by = next(one for one in spoken if any(w is words[done] for w in one.words))
    return words[done] is said_by.words[0] or said_by.end_s - words[done - 1].end_sample / 8000 > TOLERANCE_S + 0.001


def tell_interims(
    draw: st.DrawFn, words: list[Word], finals: list[tuple[float, RecognitionEvent]], *, over_s: float, steady: bool
) -> list[tuple[float, RecognitionEvent]]:
    """Interims, 50 to 400 ms apart: the words after the newest final. Not steady: late, and partly wrong."""
    told = []
    lag_s = 0.0 if steady else draw(st.sampled_from([0.0, 0.2, 0.6]))
    at = 0.0
    while (at := at + (0.1 if steady else draw(st.sampled_from([0.05, 0.2, 0.4])))) <= over_s:
        settled_to = max((event.end_sample for arrives_at, event in finals if arrives_at < at), default=0)
        heard = [w.text for w in words if w.end_sample > settled_to and w.end_sample <= at_sample(at - lag_s)]
        if not steady and heard and draw(st.integers(0, 5)) == 0:
            heard = draw(st.sampled_from([heard[:-1], [*heard[:-1], "wrong"], [*heard, "wrong"]]))
        told.append((at, interim(" ".join(heard), at)))
    return told


@st.composite
def scripts(draw: st.DrawFn, *, word_times: bool, steady: bool, may_be_missed: bool = False) -> Script:
    spoken = draw(speech(may_be_missed=may_be_missed))
    words = [w for one in spoken for w in one.words]
    finals = cut_into_finals(draw, spoken, word_times=word_times, orderly=steady)
    over_s = max(finals[-1][0], spoken[-1].end_s + 0.5)
    interims = tell_interims(draw, words, finals, over_s=over_s, steady=steady)
    # In the end the recognizer has put right what was wrong: nothing is un-finalised.
    interims.append((over_s + 0.01, interim("", over_s)))
    return Script(spoken, finals, interims, over_s + 0.01)


def in_order_of_time(observer: Observer) -> list[str]:
    starts = {e.utterance_id: e.start_sample or 0 for _, e in observer.events if e.event == "utterance_begin"}
    texts = observer.texts()
    ids = sorted(texts, key=lambda utterance_id: (starts[utterance_id], utterance_id))
    return [token for utterance_id in ids for token in texts[utterance_id].split()]


@given(scripts(word_times=True, steady=False, may_be_missed=True))
def test_with_word_times_no_word_is_lost_doubled_or_moved(script: Script) -> None:
    observer = script.run()
    observer.check_order_of_events()
    assert in_order_of_time(observer) == script.final_words
    assert [token for _, text in observer.of("final") for token in (text or "").split()] == script.final_words


@given(scripts(word_times=True, steady=False))
def test_with_word_times_each_word_is_where_it_was_said(script: Script) -> None:
    observer = script.run()
    for one in script.spoken:
        assert observer.texts()[one.utterance_id] == " ".join(w.text for w in one.words)


@given(scripts(word_times=False, steady=False, may_be_missed=True))
def test_without_word_times_no_word_is_lost_or_doubled(script: Script) -> None:
    observer = script.run()
    observer.check_order_of_events()
    assert in_order_of_time(observer) == script.final_words


@given(scripts(word_times=False, steady=True))
def test_steady_interims_show_where_words_belong_without_word_times(script: Script) -> None:
    observer = script.run()
    for one in script.spoken:
        assert observer.texts()[one.utterance_id] == " ".join(w.text for w in one.words)


@given(st.booleans().flatmap(lambda word_times: scripts(word_times=word_times, steady=True)))
def test_with_steady_interims_the_committed_text_is_right_at_once(script: Script) -> None:
    observer = script.run()
    assert observer.of("amended") == []
    assert dict(observer.of("utterance_end")) == {
        one.utterance_id: " ".join(w.text for w in one.words) for one in script.spoken
    }


@given(st.booleans().flatmap(lambda steady: scripts(word_times=True, steady=steady)))
def test_an_utterance_is_committed_when_finals_cover_it_or_at_its_deadline(script: Script) -> None:
    observer = script.run()
    committed_at = {e.utterance_id: at for at, e in observer.events if e.event == "utterance_end"}
    for one in script.spoken:
        ended_at = one.end_s + 0.5
        covered_at = next(
            (at for at, event in script.finals if event.end_sample / 8000 > max(one.end_s - TOLERANCE_S, one.start_s)),
            ended_at + 100,
        )
        expected = max(ended_at, min(covered_at, ended_at + COMMIT_S))
        assert committed_at[one.utterance_id] == pytest.approx(min(expected, script.over_s))


@given(scripts(word_times=False, steady=False))
def test_partials_of_an_utterance_never_show_words_of_the_one_before(script: Script) -> None:
    """Every word bears its utterance's number, so that a stray one is seen."""
    for number, one in enumerate(script.spoken):
        one.words[:] = [Word(f"{number}:{w.text}", w.start_sample, w.end_sample) for w in one.words]
    words = [w for one in script.spoken for w in one.words]
    events: list[tuple[float, RecognitionEvent]] = []
    for at, event in script.interims:
        heard = [w.text for w in words if w.end_sample <= event.end_sample]
        events.append((at, interim(" ".join(heard), at)))
    script.interims, script.finals = events, []
    observer = script.run()
    owner = {one.utterance_id: str(number) for number, one in enumerate(script.spoken)}
    for utterance_id, text in observer.of("partial"):
        assert utterance_id is not None
        assert {token.partition(":")[0] for token in (text or "").split()} == {owner[utterance_id]}


# --- the rules, one by one -------------------------------------------------------------------------------------


def test_an_utterance_from_its_begin_to_its_end() -> None:
    observer = Observer()
    assert observer.begin(1.0, 0.7) == 1
    observer.receive(1.5, interim("one", 1.4))
    observer.receive(2.0, interim("one two", 1.9))
    assert observer.end(2.5, 2.0) == 1
    observer.receive(2.6, final("One two.", 2.0))
    assert [(at, e.event, e.text) for at, e in observer.events] == [
        (1.0, "utterance_begin", None),
        (1.5, "partial", "one"),
        (2.0, "partial", "one two"),
        (2.6, "final", "One two."),
        (2.6, "utterance_end", "One two."),
    ]
    end = observer.events[-1][1]
    assert (end.start_sample, end.end_sample, end.source) == (5600, 16000, "emulator")


def test_without_a_final_the_newest_interim_is_committed_at_the_deadline() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(2.0, interim("one two", 1.9))
    observer.end(2.5, 2.0)
    observer.receive(2.7, interim("one two three", 2.6))
    observer.advance(3.0)
    assert [(at, e.text) for at, e in observer.events if e.event == "utterance_end"] == [(2.8, "one two three")]


def test_finals_so_far_and_the_rest_of_the_interim_are_committed_at_the_deadline() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(3.0, final("one two", 2.0))
    observer.receive(3.2, interim("three", 3.1))
    observer.end(4.0, 3.5)
    observer.advance(5.0)
    assert observer.of("utterance_end") == [(1, "one two three")]


def test_a_late_final_amends_only_if_it_differs() -> None:
    for said, amended in (("one two", []), ("one three", [(1, "one three")])):
        observer = Observer()
        observer.begin(1.0, 0.7)
        observer.receive(2.0, interim("one two", 1.9))
        observer.end(2.5, 2.0)
        observer.advance(3.0)
        observer.receive(3.5, final(said, 2.1))
        assert observer.of("utterance_end") == [(1, "one two")]
        assert observer.of("amended") == amended


def test_a_late_final_without_word_times_does_not_give_committed_words_again() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(2.0, interim("one two", 1.9))
    observer.end(2.5, 2.0)
    observer.begin(3.1, 2.8)
    observer.receive(4.0, interim("one two three", 3.9))
    assert observer.of("partial")[-1] == (2, "three")
    observer.receive(4.5, final("won two three four", 4.4))
    observer.end(5.0, 4.5)
    assert observer.texts() == {1: "won two", 2: "three four"}


def test_without_word_times_or_interims_words_are_shared_by_speech_time() -> None:
    observer = Observer()
    observer.begin(1.0, 1.0)
    observer.end(3.5, 3.0)
    observer.begin(4.0, 4.0)
    observer.end(6.5, 6.0)
    observer.receive(7.5, final("a b c d", 6.2))
    assert observer.texts() == {1: "a b", 2: "c d"}


def test_a_final_in_no_utterance_becomes_one_of_its_own() -> None:
    observer = Observer()
    observer.receive(3.0, final("hello", 2.5, (word("hello", 2.0, 2.4),)))
    observer.begin(9.0, 8.7)
    observer.receive(15.0, final("there", 14.0))
    observer.end(15.0, 14.0)
    assert observer.texts() == {1: "hello", 2: "there"}
    assert [e.event for _, e in observer.events][:3] == ["utterance_begin", "final", "utterance_end"]


def test_a_word_beyond_every_utterance_does_not_go_to_a_distant_one() -> None:
    observer = Observer()
    observer.begin(1.0, 1.0)
    observer.end(2.5, 2.0)
    words = (word("near", 2.2, 2.6), word("far", 5.0, 5.4), word("off", 5.4, 5.8))
    observer.receive(6.0, final("near far off", 6.0, words))
    assert observer.texts() == {1: "near", 2: "far off"}


def test_the_same_text_in_the_next_utterance_is_a_partial_again() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.5, interim("yes", 1.4))
    observer.end(2.0, 1.5)
    observer.begin(2.1, 2.0)  # before the first one is committed
    observer.receive(2.6, interim("yes yes", 2.5))
    assert observer.of("partial") == [(1, "yes"), (2, "yes")]


def test_a_waiting_partial_does_not_go_to_the_next_utterance() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(2.0, interim("one", 1.9))
    observer.receive(2.1, interim("one two", 2.0))  # waits until 2.18
    observer.end(2.12, 2.1)
    observer.begin(2.15, 2.12)
    observer.advance(3.0)
    assert observer.of("partial") == [(1, "one")]


def test_what_was_heard_before_the_onset_of_speech_is_not_lost_to_the_utterance() -> None:
    """A recognizer may be faster than the endpointer: its interim comes before ``begin``."""
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(2.0, final("one", 1.95))
    observer.end(2.5, 2.0)
    observer.receive(3.5, interim("two", 3.5))
    observer.begin(3.52, 3.16, 3.46)
    observer.receive(3.8, interim("two three", 3.8))
    observer.end(4.4, 3.9)
    observer.advance(5.0)
    assert observer.of("utterance_end") == [(1, "one"), (2, "two three")]
    assert observer.of("amended") == []


def test_a_late_word_that_comes_in_the_hangover_stays_with_its_utterance() -> None:
    """A recognizer is behind by some 100 ms; what it says before the next voice is about the voice before."""
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.9, interim("one", 1.9))
    observer.receive(2.4, interim("one two", 2.4))
    observer.end(2.5, 2.0)
    observer.begin(2.6, 2.24, 2.54)
    observer.receive(2.7, interim("one two", 2.7))
    observer.advance(2.81)
    assert observer.of("utterance_end") == [(1, "one two")]


def test_begin_ends_the_utterance_that_is_open() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.5, interim("one", 1.5))
    observer.begin(2.0, 1.9)
    observer.finish(2.0)
    assert observer.texts() == {1: "one", 2: ""}


def test_end_without_begin_says_so() -> None:
    observer = Observer()
    assert observer.end(1.0, 1.0) is None
    observer.begin(1.5, 1.5)
    assert observer.end(2.0, 2.0) == 1
    assert observer.end(2.0, 2.0) is None


def test_a_final_that_ends_where_a_short_utterance_begins_does_not_cover_it() -> None:
    observer = Observer()
    observer.receive(1.0, final("", 1.0))
    observer.begin(1.1, 1.0, 1.04)
    observer.end(1.7, 1.2)  # 160 ms of voice
    observer.receive(1.8, final("yes", 1.25))
    assert [(at, e.text) for at, e in observer.events if e.event == "utterance_end"] == [(1.8, "yes")]


def test_a_final_takes_nothing_from_an_utterance_that_it_does_not_reach() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7, 0.9)
    observer.receive(1.5, interim("yes", 1.4))
    observer.end(2.0, 1.5)
    observer.begin(3.0, 2.7, 2.9)
    observer.receive(3.5, interim("yes yes", 3.4))
    observer.receive(3.6, final("yes", 1.6))
    observer.end(4.0, 3.5)
    observer.advance(4.5)
    assert observer.of("utterance_end") == [(1, "yes"), (2, "yes")]


def test_what_the_recognizer_hears_after_a_covering_final_is_not_committed_to_the_utterance() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(2.3, final("one", 2.05))
    observer.receive(2.4, interim("noise", 2.4))
    observer.end(2.5, 2.0)
    observer.receive(2.6, interim("noise noise", 2.6))
    observer.receive(2.7, interim("", 2.7))
    observer.receive(3.9, final("", 3.9))
    assert observer.of("utterance_end") == [(1, "one")]
    assert observer.of("amended") == []


def test_a_final_does_not_make_the_onset_be_forgotten() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7, 0.94)
    observer.receive(4.0, interim("one two three four", 4.0))
    observer.end(4.1, 3.6)
    observer.receive(4.2, final("one", 1.5))
    observer.begin(4.3, 4.0, 4.24)
    observer.receive(4.6, interim("two three four five", 4.6))
    observer.end(5.0, 4.5)
    observer.advance(6.0)
    assert observer.of("utterance_end") == [(1, "one two three four"), (2, "five")]


def test_nothing_was_recognized() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.end(2.5, 2.0)
    observer.advance(3.0)
    assert observer.of("utterance_end") == [(1, "")]
    assert observer.of("partial") == []
    assert observer.ledger.next_deadline() is None


def test_an_hour_of_talk_keeps_little() -> None:
    observer, sizes = Observer(), []
    for number in range(1800):
        at = 2.0 * number
        observer.begin(at + 0.1, at)
        observer.receive(at + 0.5, interim("one", at + 0.5))
        observer.end(at + 1.5, at + 1.0)
        if number % 30 == 29:
            observer.receive(at + 1.9, final("one", at + 1.9))
        if number % 300 == 120:
            sizes.append(footprint(observer.ledger)[0])
    assert max(sizes) < 1.1 * sizes[0]
    observer.finish(3600.0)
    observer.check_order_of_events()


def test_a_word_of_an_interim_that_its_final_took_back_is_amended_away() -> None:
    seen = Observer()
    seen.begin(2.2, 2.0)
    seen.receive(3.1, interim("hello uh", 3.0))
    seen.end(3.2, 2.7)
    seen.advance(4.0)
    assert seen.texts() == {1: "hello uh"}
    seen.receive(4.1, final("hello", 2.3))  # ends too early to cover the utterance
    seen.receive(4.1, interim("", 2.3))
    assert seen.of("amended") == [(1, "hello")]


def test_an_interim_that_takes_all_back_waits_for_the_final() -> None:
    seen = Observer()
    seen.begin(2.2, 2.0)
    seen.receive(3.1, interim("hello", 3.0))
    seen.end(3.2, 2.7)
    seen.advance(4.0)
    seen.receive(4.1, interim("", 4.0))
    assert seen.of("amended") == []


# --- the fallback ------------------------------------------------------------------------------------------


def own(text: str, start_s: float, end_s: float) -> RecognitionEvent:
    """The fallback's text of one utterance's audio."""
    return RecognitionEvent("final", text, at_sample(end_s), "whisper", start_sample=at_sample(start_s))


def test_an_utterance_waits_for_the_fallback_as_long_as_it_is_told() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.end(2.5, 2.0)
    assert observer.ledger.reschedule(at_sample(2.0), commit_at=4.5) == 1
    observer.advance(4.4)
    assert observer.of("utterance_end") == []
    observer.receive(4.45, own("one", 0.7, 2.0))
    assert observer.of("utterance_end") == [(1, "one")]
    (end,) = [event for _, event in observer.events if event.event == "utterance_end"]
    assert end.source == "whisper"


def test_a_late_answer_amends_and_a_committed_utterance_is_not_committed_again() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.end(2.5, 2.0)
    observer.advance(3.0)
    assert observer.ledger.reschedule(at_sample(2.0), commit_at=9.0) == 1
    observer.advance(10.0)
    observer.receive(11.0, own("one", 0.7, 2.0))
    assert observer.of("utterance_end") == [(1, "")]
    assert observer.of("amended") == [(1, "one")]


def test_no_utterance_ends_there() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    assert observer.ledger.reschedule(at_sample(2.0), commit_at=9.0) is None


def test_words_of_one_utterances_own_audio_are_not_shared_with_those_before() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.end(2.5, 2.0)
    observer.begin(4.0, 3.7)
    observer.end(5.5, 5.0)
    observer.receive(5.6, own("two words", 3.7, 5.0))
    assert observer.of("utterance_end") == [(1, ""), (2, "two words")]


def test_what_was_heard_of_an_utterance_that_is_passed_over_stays_its_own() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.9, interim("one and", 1.9))
    observer.end(2.5, 2.0)
    observer.begin(4.0, 3.7)
    observer.end(5.5, 5.0)
    observer.receive(5.6, own("two", 3.7, 5.0))
    observer.begin(7.0, 6.7)
    observer.receive(8.0, final("three", 8.0))
    assert observer.of("utterance_end") == [(1, "one and"), (2, "two")]
    assert observer.of("amended") == []
    observer.finish(9.0)
    assert observer.of("utterance_end")[-1] == (3, "three")


def test_what_was_heard_of_it_stays_its_own_also_if_the_span_after_it_begins_within_it() -> None:
    """It was cut at a quiet moment before its end; of what interims told of it, the last word may be in that span."""
    for claim, first, text in (("one two", "three", "one two"), ("one two", "two three", "one two")):
        observer = Observer()
        observer.begin(1.0, 0.7)
        observer.receive(1.9, interim(claim, 1.9))
        observer.end(2.0, 2.0)
        observer.begin(2.1, 2.0)
        observer.end(5.5, 5.0)
        observer.receive(
            5.6, own(f"{first} four five six seven eight nine ten", 1.99 if first == "three" else 1.8, 5.0)
        )
        assert observer.of("utterance_end")[0] == (1, text)
        assert " ".join(observer.texts().values()) == "one two three four five six seven eight nine ten"


def test_a_word_that_was_heard_before_the_span_stays_with_whom_it_was_dealt_to() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.9, interim("one", 1.9))
    observer.end(2.0, 2.0)
    observer.begin(2.6, 2.5)
    observer.receive(3.9, interim("one two three four", 3.9))
    observer.end(5.5, 5.0)
    observer.receive(5.6, own("three four five", 2.4, 5.0))
    assert observer.texts() == {1: "one", 2: "two three four five"}


def test_words_that_interims_were_taken_to_tell_of_the_next_utterance_are_not_doubled() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.9, interim("one", 1.9))
    observer.end(2.0, 2.0)
    observer.begin(2.6, 2.1)
    observer.receive(3.9, interim("one two three two", 3.9))
    observer.end(5.5, 5.0)
    observer.receive(5.6, own("one two", 0.7, 2.0))
    observer.finish(9.0)
    assert observer.texts() == {1: "one two", 2: "three two"}


def test_a_word_that_was_said_in_both_stays_in_both() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.9, interim("oh yes", 1.9))
    observer.end(2.0, 2.0)
    observer.begin(2.6, 2.1)
    observer.receive(3.9, interim("oh yes yes please", 3.9))
    observer.end(5.5, 5.0)
    observer.receive(5.6, own("oh yes", 0.7, 2.0))
    observer.finish(9.0)
    assert observer.texts() == {1: "oh yes", 2: "yes please"}


@pytest.mark.parametrize(
    ("onset", "voice", "heard"),
    [
        (4.2, 4.0, "three"),
        (3.1, 2.9, "two three"),  # so close that the audio before it, which the fallback is given too, has the word
    ],
)
def test_a_word_of_an_interim_that_ended_before_the_span_is_given_once(onset: float, voice: float, heard: str) -> None:
    """A final covered the utterance within the tolerance, and left its last word to the interim."""
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.end(2.5, 2.2)
    observer.receive(2.6, final("one", 2.0))
    observer.receive(2.7, interim("two", 2.2))
    observer.begin(onset, voice)
    observer.end(5.5, 5.0)
    observer.receive(5.6, own(heard, voice, 5.0))
    observer.finish(6.0)
    assert " ".join(observer.texts().values()) == "one two three"


def test_an_interim_of_the_same_words_is_replaced_by_the_final_of_the_span() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.9, interim("no two um no", 1.9))
    observer.end(2.5, 2.2)
    observer.receive(2.6, own("no two three no four", 0.7, 2.2))
    assert observer.texts() == {1: "no two three no four"}


def test_a_final_that_comes_before_the_onset_is_noticed_does_not_come_after_its_utterance() -> None:
    """It became an utterance of its own; that which begins then, before it with its pre-roll, begins after it."""
    observer = Observer()
    observer.receive(2.3, final("one", 2.2, (word("one", 2.0, 2.2),)))
    observer.begin(2.4, 1.7, 2.0)
    observer.receive(2.9, final("two", 2.7, (word("two", 2.3, 2.7),)))
    observer.end(3.5, 2.9)
    observer.finish(9.0)
    assert in_order_of_time(observer) == ["one", "two"]
    assert observer.texts() == {1: "one", 2: "two"}


def test_what_an_utterance_claims_is_put_right_while_the_next_is_spoken() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.9, interim("one uh", 1.9))
    observer.end(2.1, 2.0)
    observer.begin(2.2, 2.1)
    observer.receive(2.25, interim("one two three", 2.25))
    observer.finish(9.0)
    assert observer.of("utterance_end") == [(1, "one two"), (2, "three")]


def test_a_word_that_a_final_gives_to_the_one_before_is_claimed_no_more() -> None:
    """Else the one that claimed it would claim as many of the next."""
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.5, interim("one", 1.5))
    observer.begin(2.1, 2.0)
    observer.receive(2.8, interim("one two", 2.8))
    observer.begin(3.1, 3.0)
    observer.receive(3.5, interim("one two three", 3.5))
    observer.receive(3.6, final("one two", 1.95, (word("one", 0.8, 1.2), word("two", 1.5, 1.9))))
    observer.begin(4.1, 4.0)
    observer.receive(4.3, interim("three four", 4.3))
    observer.finish(9.0)
    assert observer.texts() == {1: "one two", 2: "", 3: "three", 4: "four"}


def test_words_before_the_span_stay_also_if_they_were_dealt_to_its_utterance_and_its_own_to_the_next() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.receive(1.9, interim("one two", 1.9))
    observer.end(2.1, 2.0)
    observer.begin(2.3, 2.2)
    observer.receive(2.9, interim("one two three", 2.9))
    observer.end(3.1, 3.0)
    observer.begin(3.3, 3.2)
    observer.receive(3.9, interim("one two three four five", 3.9))
    observer.receive(4.0, own("four", 2.2, 3.0))
    observer.finish(9.0)
    assert observer.texts() == {1: "one two", 2: "three four", 3: "five"}


def test_a_repeated_word_of_which_the_span_has_one_stays_twice() -> None:
    observer = Observer()
    observer.begin(1.0, 0.7)
    observer.end(2.1, 2.0)
    observer.begin(2.3, 2.1)
    observer.receive(3.4, interim("no no one two", 3.4))
    observer.end(3.6, 3.5)
    observer.receive(4.0, own("no one two three", 2.05, 3.5))
    assert observer.texts() == {1: "", 2: "no no one two three"}


# --- scripts without spaces ------------------------------------------------------------------------------------

CHINESE = "你好，今天天气很好。"


def two_utterances() -> Observer:
    observer = Observer()
    observer.begin(1.0, 1.0)
    observer.end(2.0, 2.0)
    observer.begin(3.0, 3.0)
    observer.end(6.0, 6.0)
    return observer


def test_a_text_without_spaces_is_given_as_it_is_and_cut_where_an_utterance_ends() -> None:
    observer = two_utterances()
    words = (
        word("你好", 1.1, 1.9),
        word("今天", 3.1, 3.9),
        word("天气", 4.0, 4.8),
        word("很好", 4.9, 5.8),
    )
    observer.receive(6.1, final(CHINESE, 6.0, words))
    assert list(observer.texts().values()) == ["你好，", "今天天气很好。"]


def test_a_text_without_spaces_and_word_times_is_shared_by_what_was_heard_of_it() -> None:
    observer = Observer()
    observer.begin(1.0, 1.0)
    observer.receive(2.0, interim("你好", 2.0))
    observer.end(2.0, 2.0)
    observer.begin(3.0, 3.0)
    observer.receive(5.0, interim("你好今天", 5.0))
    observer.end(6.0, 6.0)
    observer.receive(6.1, final(CHINESE, 6.0))
    assert list(observer.texts().values()) == ["你好，", "今天天气很好。"]


def test_a_text_without_spaces_that_nobody_heard_before_is_shared_by_the_time_of_speech() -> None:
    observer = two_utterances()  # a quarter of the speech, and three quarters
    observer.receive(6.1, final("你好今天天气很好", 6.0))
    assert list(observer.texts().values()) == ["你好", "今天天气很好"]


def test_finals_of_one_utterance_without_spaces_are_one_text() -> None:
    observer = Observer()
    observer.begin(1.0, 1.0)
    observer.receive(3.0, final("今日は", 2.0))
    observer.receive(3.2, interim("いい天気", 3.0))
    observer.end(4.0, 4.0)
    observer.advance(5.0)
    assert list(observer.texts().values()) == ["今日はいい天気"]
