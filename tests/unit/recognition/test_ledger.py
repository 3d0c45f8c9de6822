"""Each word in exactly one utterance, each utterance committed in time: against random calls and recognizers."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

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


# --- the order of what happens -----------------------------------------------------------------------------


@st.composite
def facts(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[float, str]]]:
    """Begins as (start, voice), and interims as (end, text): of the same call, each in order."""
    begins, interims = [], []
    at, count = 0.0, 0
    for _ in range(draw(st.integers(1, 5))):
        begins.append((at, at + draw(st.sampled_from([0.0, 0.3]))))
        at = begins[-1][1]
        for _ in range(draw(st.integers(0, 4))):
            at += draw(st.sampled_from([0.1, 0.35, 0.8]))
            count += draw(st.integers(0, 3))
            interims.append((at, " ".join(f"w{number}" for number in range(count))))
        at += draw(st.sampled_from([0.05, 0.7, 3.0]))
    return begins, interims


@given(facts(), st.randoms(use_true_random=False))
def test_the_same_facts_in_another_order_give_the_same_texts(
    call: tuple[list[tuple[float, float]], list[tuple[float, str]]], rng: Random
) -> None:
    begins, interims = call
    texts = []
    for takes_turns in (False, True):
        ledger = TranscriptLedger(commit_s=100, debounce_s=DEBOUNCE_S)
        waiting: list[deque[tuple[float, float | str]]] = [deque(begins), deque(interims)]
        while any(waiting):
            at, what = (rng.choice([q for q in waiting if q]) if takes_turns else waiting[not waiting[0]]).popleft()
            if isinstance(what, str):
                ledger.receive(interim(what, at), now=0.0)
            else:
                ledger.begin(at_sample(at), now=0.0, voice_sample=at_sample(what))
        ledger.finish(now=0.0)
        texts.append([event.text for event in ledger.take() if event.event == "utterance_end"])
    assert texts[0] == texts[1]
    assert " ".join(filter(None, texts[0])) == (interims[-1][1] if interims else "")


@given(facts(), st.integers(0, 4), st.booleans())
def test_words_that_were_committed_stay_where_they_are(
    call: tuple[list[tuple[float, float]], list[tuple[float, str]]], commits: int, settles: bool
) -> None:
    """Although the next utterance turns out to have begun before they were heard."""
    begins, interims = call
    observer = Observer()
    first, *later = begins
    observer.begin(0.0, *first)
    told = interims[: commits + 1]
    for end, text in told:
        observer.receive(0.0, interim(text, end))
    observer.end(0.0, first[1] + 0.1)
    observer.advance(COMMIT_S)
    committed = observer.of("utterance_end")
    assert committed == [(1, told[-1][1] if told else "")]
    for start, voice in later:
        observer.begin(1.0, start, voice)
    for end, text in interims[commits + 1 :]:
        observer.receive(2.0, interim(text, end))
    text, over = (interims[-1][1], interims[-1][0]) if interims else ("", 0.0)
    if settles:
        observer.receive(3.0, final(text, max(over, begins[-1][0]) + 0.1))
    observer.finish(4.0)
    assert observer.texts()[1].startswith(committed[0][1])
    if settles:
        assert " ".join(filter(None, observer.texts().values())) == text


# --- the rules, one by one -------------------------------------------------------------------------------------


def own(text: str, start_s: float, end_s: float) -> RecognitionEvent:
    """The fallback's text of one utterance's audio."""
    return RecognitionEvent("final", text, at_sample(end_s), "whisper", start_sample=at_sample(start_s))


@dataclass(frozen=True)
class Rule:
    """What happens, and what comes of it. What is None is not looked at.

    ``script``: steps, each ``TIME what``, the time in seconds. ``begin START [VOICE]`` and ``end END`` are the
    endpointer's, ``interim END text`` and ``final END text`` the recognizer's (a word may have its times:
    ``word@START-END``), ``own START END text`` is the fallback's text of one utterance's audio. A time alone passes.
    """

    script: str
    texts: dict[int, str] | None = None
    """In the end."""
    ends: list[tuple[int, str]] | None = None
    """As they were committed."""
    amended: list[tuple[int, str]] | None = None
    partials: list[tuple[int, str]] | None = None

    def play(self) -> Observer:
        observer = Observer()
        for step in self.script.split(";"):
            at, what, *words = *step.split(), ""
            match what:
                case "begin":
                    observer.begin(float(at), *map(float, words[:-1]))
                case "end":
                    observer.end(float(at), float(words[0]))
                case "interim":
                    observer.receive(float(at), interim(" ".join(words[1:]).strip(), float(words[0])))
                case "final":
                    timed = [each.partition("@") for each in words[1:] if each]
                    spans = tuple(word(text, *map(float, span.split("-"))) for text, _, span in timed if span)
                    observer.receive(float(at), final(" ".join(text for text, _, _ in timed), float(words[0]), spans))
                case "own":
                    observer.receive(float(at), own(" ".join(words[2:]).strip(), float(words[0]), float(words[1])))
                case "finish":
                    observer.finish(float(at))
                case _:
                    assert not what, step
                    observer.advance(float(at))
        return observer

    def check(self) -> None:
        observer = self.play()
        assert self.texts is None or observer.texts() == self.texts
        assert self.ends is None or observer.of("utterance_end") == self.ends
        assert self.amended is None or observer.of("amended") == self.amended
        assert self.partials is None or observer.of("partial") == self.partials


RULES = {
    "finals so far and the rest of the interim are committed at the deadline": Rule(
        "1.0 begin 0.7; 3.0 final 2.0 one two; 3.2 interim 3.1 three; 4.0 end 3.5; 5.0",
        ends=[(1, "one two three")],
    ),
    "a late final that says the same amends nothing": Rule(
        "1.0 begin 0.7; 2.0 interim 1.9 one two; 2.5 end 2.0; 3.0; 3.5 final 2.1 one two",
        ends=[(1, "one two")],
        amended=[],
    ),
    "a late final that differs amends": Rule(
        "1.0 begin 0.7; 2.0 interim 1.9 one two; 2.5 end 2.0; 3.0; 3.5 final 2.1 one three",
        ends=[(1, "one two")],
        amended=[(1, "one three")],
    ),
    "a late final without word times does not give committed words again": Rule(
        "1.0 begin 0.7; 2.0 interim 1.9 one two; 2.5 end 2.0; 3.1 begin 2.8; 4.0 interim 3.9 one two three; "
        "4.5 final 4.4 won two three four; 5.0 end 4.5",
        texts={1: "won two", 2: "three four"},
        partials=[(1, "one two"), (2, "three"), (2, "three four")],
    ),
    "without word times or interims words are shared by speech time": Rule(
        "1.0 begin 1.0; 3.5 end 3.0; 4.0 begin 4.0; 6.5 end 6.0; 7.5 final 6.2 a b c d",
        texts={1: "a b", 2: "c d"},
    ),
    "a word beyond every utterance does not go to a distant one": Rule(
        "1.0 begin 1.0; 2.5 end 2.0; 6.0 final 6.0 near@2.2-2.6 far@5.0-5.4 off@5.4-5.8",
        texts={1: "near", 2: "far off"},
    ),
    # The second begins before the first is committed.
    "the same text in the next utterance is a partial again": Rule(
        "1.0 begin 0.7; 1.5 interim 1.4 yes; 2.0 end 1.5; 2.1 begin 2.0; 2.6 interim 2.5 yes yes",
        partials=[(1, "yes"), (2, "yes")],
    ),
    # It waits until 2.18.
    "a waiting partial does not go to the next utterance": Rule(
        "1.0 begin 0.7; 2.0 interim 1.9 one; 2.1 interim 2.0 one two; 2.12 end 2.1; 2.15 begin 2.12; 3.0",
        partials=[(1, "one")],
    ),
    # A recognizer may be faster than the endpointer: its interim comes before `begin`.
    "what was heard before the onset of speech is not lost to the utterance": Rule(
        "1.0 begin 0.7; 2.0 final 1.95 one; 2.5 end 2.0; 3.5 interim 3.5 two; 3.52 begin 3.16 3.46; "
        "3.8 interim 3.8 two three; 4.4 end 3.9; 5.0",
        ends=[(1, "one"), (2, "two three")],
        amended=[],
    ),
    # A recognizer is behind by some 100 ms; what it says before the next voice is about the voice before.
    "a late word that comes in the hangover stays with its utterance": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 one; 2.4 interim 2.4 one two; 2.5 end 2.0; 2.6 begin 2.24 2.54; "
        "2.7 interim 2.7 one two; 2.81",
        ends=[(1, "one two")],
    ),
    "begin ends the utterance that is open": Rule(
        "1.0 begin 0.7; 1.5 interim 1.5 one; 2.0 begin 1.9; 2.0 finish",
        texts={1: "one", 2: ""},
    ),
    "a final takes nothing from an utterance that it does not reach": Rule(
        "1.0 begin 0.7 0.9; 1.5 interim 1.4 yes; 2.0 end 1.5; 3.0 begin 2.7 2.9; 3.5 interim 3.4 yes yes; "
        "3.6 final 1.6 yes; 4.0 end 3.5; 4.5",
        ends=[(1, "yes"), (2, "yes")],
    ),
    "what the recognizer hears after a covering final is not committed to the utterance": Rule(
        "1.0 begin 0.7; 2.3 final 2.05 one; 2.4 interim 2.4 noise; 2.5 end 2.0; 2.6 interim 2.6 noise noise; "
        "2.7 interim 2.7; 3.9 final 3.9",
        ends=[(1, "one")],
        amended=[],
    ),
    "a final does not make the onset be forgotten": Rule(
        "1.0 begin 0.7 0.94; 4.0 interim 4.0 one two three four; 4.1 end 3.6; 4.2 final 1.5 one; "
        "4.3 begin 4.0 4.24; 4.6 interim 4.6 two three four five; 5.0 end 4.5; 6.0",
        ends=[(1, "one two three four"), (2, "five")],
    ),
    # The final ends too early to cover the utterance.
    "a word of an interim that its final took back is amended away": Rule(
        "2.2 begin 2.0; 3.1 interim 3.0 hello uh; 3.2 end 2.7; 4.0; 4.1 final 2.3 hello; 4.1 interim 2.3",
        ends=[(1, "hello uh")],
        amended=[(1, "hello")],
    ),
    "an interim that takes all back waits for the final": Rule(
        "2.2 begin 2.0; 3.1 interim 3.0 hello; 3.2 end 2.7; 4.0; 4.1 interim 4.0",
        ends=[(1, "hello")],
        amended=[],
    ),
    # It became an utterance of its own; that which begins then, before it with its pre-roll, begins after it.
    "a final that comes before the onset is noticed does not come after its utterance": Rule(
        "2.3 final 2.2 one@2.0-2.2; 2.4 begin 1.7 2.0; 2.9 final 2.7 two@2.3-2.7; 3.5 end 2.9; 9.0 finish",
        texts={1: "one", 2: "two"},
    ),
    "what an utterance claims is put right while the next is spoken": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 one uh; 2.1 end 2.0; 2.2 begin 2.1; 2.25 interim 2.25 one two three; "
        "9.0 finish",
        ends=[(1, "one two"), (2, "three")],
    ),
    # Else the one that claimed it would claim as many of the next.
    "a word that a final gives to the one before is claimed no more": Rule(
        "1.0 begin 0.7; 1.5 interim 1.5 one; 2.1 begin 2.0; 2.8 interim 2.8 one two; 3.1 begin 3.0; "
        "3.5 interim 3.5 one two three; 3.6 final 1.95 one@0.8-1.2 two@1.5-1.9; 4.1 begin 4.0; "
        "4.3 interim 4.3 three four; 9.0 finish",
        texts={1: "one two", 2: "", 3: "three", 4: "four"},
    ),
    "a text without spaces is shared by what was heard of it": Rule(
        "1.0 begin 1.0; 2.0 interim 2.0 你好; 2.0 end 2.0; 3.0 begin 3.0; 5.0 interim 5.0 你好今天; 6.0 end 6.0; "
        "6.1 final 6.0 你好，今天天气很好。",
        texts={1: "你好，", 2: "今天天气很好。"},
    ),
    # A quarter of the speech, and three quarters.
    "a text without spaces that nobody heard before is shared by the time of speech": Rule(
        "1.0 begin 1.0; 2.0 end 2.0; 3.0 begin 3.0; 6.0 end 6.0; 6.1 final 6.0 你好今天天气很好",
        texts={1: "你好", 2: "今天天气很好"},
    ),
    "finals of one utterance without spaces are one text": Rule(
        "1.0 begin 1.0; 3.0 final 2.0 今日は; 3.2 interim 3.0 いい天気; 4.0 end 4.0; 5.0",
        texts={1: "今日はいい天気"},
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rule(name: str) -> None:
    RULES[name].check()


@pytest.mark.parametrize(
    ("script", "ends"),
    [
        (
            "1.0 begin 0.7; 2.0 interim 1.9 one two; 2.5 end 2.0; 2.7 interim 2.6 one two three; 3.0",
            (2.8, "one two three"),
        ),
        # The first final ends where the utterance, of 160 ms of voice, begins: it does not cover it.
        ("1.0 final 1.0; 1.1 begin 1.0 1.04; 1.7 end 1.2; 1.8 final 1.25 yes", (1.8, "yes")),
    ],
    ids=["without a final the newest interim is committed at the deadline", "a final covers a short utterance"],
)
def test_when_an_utterance_is_committed(script: str, ends: tuple[float, str]) -> None:
    observer = Rule(script).play()
    assert [(at, e.text) for at, e in observer.events if e.event == "utterance_end"] == [ends]


def test_a_final_in_no_utterance_becomes_one_of_its_own() -> None:
    observer = Rule("3.0 final 2.5 hello@2.0-2.4; 9.0 begin 8.7; 15.0 final 14.0 there; 15.0 end 14.0").play()
    assert observer.texts() == {1: "hello", 2: "there"}
    assert [e.event for _, e in observer.events][:3] == ["utterance_begin", "final", "utterance_end"]


@pytest.mark.parametrize("end_s", [2.5, 2.3])
def test_a_late_final_in_no_utterance_leaves_the_open_one_open(end_s: float) -> None:
    """A stream repeats a final's time, or a second one returns words for the same time."""
    observer = Rule(f"3.0 final 2.5 hello; 3.1 begin 2.4; 3.2 final {end_s} my; 4.0 end 3.8; 9.0").play()
    assert observer.of("utterance_end") == [(1, "hello"), (3, "my"), (2, "")]
    assert observer.ledger.next_deadline() is None


def test_nothing_was_recognized() -> None:
    observer = Rule("1.0 begin 0.7; 2.5 end 2.0; 3.0").play()
    assert observer.of("utterance_end") == [(1, "")]
    assert observer.of("partial") == []
    assert observer.ledger.next_deadline() is None


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


def test_end_without_begin_says_so() -> None:
    observer = Observer()
    assert observer.end(1.0, 1.0) is None
    observer.begin(1.5, 1.5)
    assert observer.end(2.0, 2.0) == 1
    assert observer.end(2.0, 2.0) is None


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


def test_a_text_without_spaces_is_given_as_it_is_and_cut_where_an_utterance_ends() -> None:
    observer = Rule("1.0 begin 1.0; 2.0 end 2.0; 3.0 begin 3.0; 6.0 end 6.0").play()
    words = (
        word("你好", 1.1, 1.9),
        word("今天", 3.1, 3.9),
        word("天气", 4.0, 4.8),
        word("很好", 4.9, 5.8),
    )
    observer.receive(6.1, final("你好，今天天气很好。", 6.0, words))
    assert list(observer.texts().values()) == ["你好，", "今天天气很好。"]


# --- the fallback ------------------------------------------------------------------------------------------

FALLBACK_RULES = {
    "words of one utterance's own audio are not shared with those before": Rule(
        "1.0 begin 0.7; 2.5 end 2.0; 4.0 begin 3.7; 5.5 end 5.0; 5.6 own 3.7 5.0 two words",
        ends=[(1, ""), (2, "two words")],
    ),
    "what was heard of an utterance that is passed over stays its own": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 one and; 2.5 end 2.0; 4.0 begin 3.7; 5.5 end 5.0; 5.6 own 3.7 5.0 two; "
        "7.0 begin 6.7; 8.0 final 8.0 three; 9.0 finish",
        ends=[(1, "one and"), (2, "two"), (3, "three")],
        amended=[],
    ),
    "what was heard of it stays its own if the span after it begins within it": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 one two; 2.0 end 2.0; 2.1 begin 2.0; 5.5 end 5.0; "
        "5.6 own 1.99 5.0 three four five six seven eight nine ten",
        texts={1: "one two", 2: "three four five six seven eight nine ten"},
    ),
    # It was cut at a quiet moment before its end; of what interims told of it, the last word may be in that span.
    "what was heard of it stays its own if the span after it has its last word": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 one two; 2.0 end 2.0; 2.1 begin 2.0; 5.5 end 5.0; "
        "5.6 own 1.8 5.0 two three four five six seven eight nine ten",
        ends=[(1, "one two"), (2, "three four five six seven eight nine ten")],
        amended=[],
    ),
    "a word that was heard before the span stays with whom it was given to": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 one; 2.0 end 2.0; 2.6 begin 2.5; 3.9 interim 3.9 one two three four; "
        "5.5 end 5.0; 5.6 own 2.4 5.0 three four five",
        texts={1: "one", 2: "two three four five"},
    ),
    "words that interims were taken to tell of the next utterance are not doubled": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 one; 2.0 end 2.0; 2.6 begin 2.1; 3.9 interim 3.9 one two three two; "
        "5.5 end 5.0; 5.6 own 0.7 2.0 one two; 9.0 finish",
        texts={1: "one two", 2: "three two"},
    ),
    "a word that was said in both stays in both": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 oh yes; 2.0 end 2.0; 2.6 begin 2.1; 3.9 interim 3.9 oh yes yes please; "
        "5.5 end 5.0; 5.6 own 0.7 2.0 oh yes; 9.0 finish",
        texts={1: "oh yes", 2: "yes please"},
    ),
    # A final covered the utterance within the tolerance, and left its last word to the interim.
    "a word of an interim that ended before the span is given once": Rule(
        "1.0 begin 0.7; 2.5 end 2.2; 2.6 final 2.0 one; 2.7 interim 2.2 two; 4.2 begin 4.0; 5.5 end 5.0; "
        "5.6 own 4.0 5.0 three; 6.0 finish",
        texts={1: "one", 2: "two three"},
    ),
    "a word of an interim that is in the audio before a close span too is given once": Rule(
        "1.0 begin 0.7; 2.5 end 2.2; 2.6 final 2.0 one; 2.7 interim 2.2 two; 3.1 begin 2.9; 5.5 end 5.0; "
        "5.6 own 2.9 5.0 two three; 6.0 finish",
        texts={1: "one", 2: "two three"},
    ),
    "an interim of the same words is replaced by the final of the span": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 no two um no; 2.5 end 2.2; 2.6 own 0.7 2.2 no two three no four",
        texts={1: "no two three no four"},
    ),
    "words before the span stay also if they were given to its utterance and its own to the next": Rule(
        "1.0 begin 0.7; 1.9 interim 1.9 one two; 2.1 end 2.0; 2.3 begin 2.2; 2.9 interim 2.9 one two three; "
        "3.1 end 3.0; 3.3 begin 3.2; 3.9 interim 3.9 one two three four five; 4.0 own 2.2 3.0 four; 9.0 finish",
        texts={1: "one two", 2: "three four", 3: "five"},
    ),
    "a repeated word of which the span has one stays twice": Rule(
        "1.0 begin 0.7; 2.1 end 2.0; 2.3 begin 2.1; 3.4 interim 3.4 no no one two; 3.6 end 3.5; "
        "4.0 own 2.05 3.5 no one two three",
        texts={1: "", 2: "no no one two three"},
    ),
}


@pytest.mark.parametrize("name", FALLBACK_RULES)
def test_rule_of_the_fallback(name: str) -> None:
    FALLBACK_RULES[name].check()


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
