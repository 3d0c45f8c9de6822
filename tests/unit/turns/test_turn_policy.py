"""When the caller's turn begins and ends, and what the agent does about it: stories of frames and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.audio.endpointing import SpeechBegan, SpeechEnded
from fastcall.errors import UsageError
from fastcall.settings import Settings
from fastcall.turns.completeness import Expectation
from fastcall.turns.turn_policy import (
    AskEndOfTurn,
    HoldSpeech,
    IgnoreSpeech,
    InterruptionConfirmed,
    ReleaseSpeech,
    ResumeSpeech,
    StopSpeech,
    TurnDecision,
    TurnPolicy,
)

FRAME = 160
NO_VOICE, VOICE, BACKGROUND = 0, 1, 2


@dataclass
class Line:
    """A caller's audio and its recognizer, on one clock: 20 ms a frame."""

    policy: TurnPolicy
    frames: int = 0
    is_to_hold: bool = False
    decided: list[tuple[int, TurnDecision]] = field(default_factory=list)
    """In ms."""

    @property
    def now(self) -> float:
        return self.frames * 0.02

    @property
    def sample(self) -> int:
        return self.frames * FRAME

    def hear(self, ms: int, voice: int = VOICE) -> Line:
        for _ in range(ms // 20):
            self.frames += 1
            change = self.policy.rule.feed(voice, self.sample, self.now)
            if change:
                self.policy.changed(change, now=self.now)
            while (due := self.policy.next_deadline()) is not None and due <= self.now:
                self.policy.handle_deadline(now=self.now)
            self.note()
        return self

    def quiet(self, ms: int) -> Line:
        return self.hear(ms, NO_VOICE)

    def words(self, text: str, behind_ms: int = 0) -> Line:
        self.policy.words(text, self.sample - behind_ms * 8, now=self.now)
        return self.note()

    def commit(self, text: str) -> Line:
        self.policy.commits(text)
        self.policy.committed(text)
        return self.note()

    def agent(self, speaks: bool, is_interruptible: bool = True) -> Line:
        if speaks:
            self.policy.agent_speaks(is_interruptible=is_interruptible)
        else:
            self.is_to_hold = self.policy.agent_silent()
        return self.note()

    def note(self) -> Line:
        self.decided += [(self.frames * 20, each) for each in self.policy.decisions()]
        return self

    def of(self, kind: type) -> list[tuple[int, TurnDecision]]:
        return [(at, each) for at, each in self.decided if isinstance(each, kind)]

    @property
    def kinds(self) -> list[str]:
        return [type(each).__name__ for _, each in self.decided]

    @property
    def ends(self) -> list[tuple[int, str]]:
        return [(at, each.reason) for at, each in self.decided if isinstance(each, SpeechEnded)]


def line(**changes: object) -> Line:
    return Line(TurnPolicy(Settings(**({"language": "en-US"} | changes)))).quiet(400)  # type: ignore[arg-type]


def silence_after(text: str, expectation: Expectation | None = None, **changes: object) -> int:
    """The silence in ms that ends a turn with this text."""
    made = line(**changes)
    made.policy.expect(expectation)
    made.hear(1000).quiet(40).words(text).quiet(3000)
    ((at, reason),) = made.ends
    assert reason == "hangover"
    return at - 1400


# --- how a turn ends ------------------------------------------------------------------------------


def test_a_whole_text_ends_it_soonest_and_one_that_breaks_off_last() -> None:
    whole, undecided = silence_after("yes"), silence_after("the blue one")
    number, broken = silence_after("five five five"), silence_after("i would like to")
    assert whole < undecided < number < broken
    # A few frames of the window may have voice in them, and the window then reaches into the speech.
    assert 400 - 6 * 20 <= whole <= 400
    assert 1800 - 6 * 20 <= broken <= 1800


def test_the_bounds_are_the_settings() -> None:
    assert silence_after("yes", turn_min_silence_ms=800) == pytest.approx(800, abs=120)
    assert silence_after("i would like to", turn_max_silence_ms=1000) == pytest.approx(1000, abs=120)
    with pytest.raises(UsageError, match="TURN_MAX_SILENCE_MS=300: must not be less than TURN_MIN_SILENCE_MS=400"):
        Settings(turn_max_silence_ms=300)


def test_one_setting_brings_silence_of_one_length() -> None:
    assert {silence_after(text, turn_detection="silence") for text in ("yes", "i would like to", "")} == {
        silence_after("five", turn_detection="silence")
    }
    assert silence_after("yes", turn_detection="silence", vad_hangover_ms=500) == pytest.approx(500, abs=60)
    assert TurnPolicy(Settings(turn_detection="silence")).gate is None
    with pytest.raises(UsageError, match="TURN_DETECTION='magic': use adaptive, silence"):
        Settings(turn_detection="magic")


def test_ones_own_judgement_takes_the_place_of_the_word_lists() -> None:
    asked: list[str] = []

    def judge(text: str) -> float:
        asked.append(text)
        return 1.0

    made = Line(TurnPolicy(Settings(language="en-US"), judge)).quiet(400)
    made.hear(1000).words("i would like to").words("i would like to").quiet(2000)
    ((at, _),) = made.ends
    assert at - 1400 <= 400
    assert asked == ["i would like to"]
    made.commit("i would like to").hear(500).words("to").hear(500).words("to anna").quiet(1000)
    assert asked == ["i would like to", "to anna"]  # what grows before the caller pauses is not judged


@pytest.mark.parametrize(
    ("text", "expectation", "sooner"),
    [
        ("five five five oh one nine", Expectation("digits", length=6), True),
        ("five five five", Expectation("digits", length=6), False),
        ("the large one", Expectation("choice", choices=("the large one", "the small one")), True),
        ("twenty two oak street", Expectation("address"), False),
    ],
)
def test_what_is_expected_decides_how_long_to_wait(text: str, expectation: Expectation, sooner: bool) -> None:
    assert (silence_after(text, expectation) < silence_after(text)) == sooner
    assert silence_after(text, expectation) != silence_after(text)


def test_what_was_expected_counts_for_one_turn_with_words() -> None:
    made = line()
    made.policy.expect(Expectation("digits", length=3))
    made.hear(200).quiet(1500).commit("")
    made.hear(1000).words("one two three").quiet(1500).commit("one two three")
    made.hear(1000).words("one two three").quiet(3000)
    _, (first, _), (second, _) = made.ends
    assert first < second
    waits = [at - began for (began, _), (at, _) in zip(made.of(SpeechBegan)[1:], made.ends[1:], strict=True)]
    assert waits[0] < waits[1]


def test_words_that_are_still_missing_leave_it_undecided() -> None:
    # The text covers the first second only.
    known = line().hear(1000).words("yes").quiet(2000)
    behind = line().hear(1000).words("yes", behind_ms=600).quiet(2000)
    assert behind.ends[0][0] > known.ends[0][0]


def test_a_whole_text_is_whole_no_more_when_the_caller_goes_on() -> None:
    made = line().hear(1000).words("can i speak to anna").quiet(200).hear(500).quiet(600)
    assert made.ends == []  # with the first text's silence it would have ended
    made.quiet(600)
    assert len(made.ends) == 1


def test_a_cough_in_the_silence_does_not_begin_it_anew() -> None:
    plain = line().hear(1000).words("i would like to").quiet(2500)
    coughs = line().hear(1000).words("i would like to").quiet(500).hear(80).quiet(2000)
    assert coughs.ends[0][0] - plain.ends[0][0] <= 80
    speaks = line().hear(1000).words("i would like to").quiet(500).hear(400).quiet(2500)
    assert speaks.ends[0][0] - plain.ends[0][0] >= 800


def test_others_in_the_background_do_not_hold_the_turn() -> None:
    made = line().hear(1000).words("the blue one").hear(3000, BACKGROUND)
    ((at, reason),) = made.ends
    assert reason == "background"
    assert at - 1400 <= 890 + 300
    assert made.of(SpeechEnded) == [(at, SpeechEnded((400 + 1000) * 8, "background"))]


def test_background_voice_begins_no_turn() -> None:
    assert line().hear(2000, BACKGROUND).decided == []


def test_a_turn_ends_when_no_words_come_although_sound_goes_on() -> None:
    made = line().hear(1000).words("the blue one").hear(4000)
    ((at, reason),) = made.ends[:1]
    assert reason == "no_words"
    assert at - 1400 == pytest.approx(890 + 1000, abs=20)


def test_new_words_keep_it_open() -> None:
    made = line()
    for count in range(1, 12):
        made.hear(1000).words("the blue one " * count)
    assert made.ends == []


def test_sound_without_words_does_not_end_before_its_length() -> None:
    assert line().hear(10_000).ends == []


def test_while_the_recognizer_is_away_missing_words_end_nothing() -> None:
    made = line().hear(500).words("the blue one")
    made.policy.recognizer_changed(is_serving=False, now=made.now)
    made.hear(5000)
    assert made.ends == []
    made.policy.recognizer_changed(is_serving=True, now=made.now)
    made.words("the blue one and").hear(5000)
    assert [reason for _, reason in made.ends] == ["no_words"]


def test_missing_words_count_again_once_another_stream_serves() -> None:
    made = line().hear(1000).words("book a table")
    made.policy.recognizer_changed(is_serving=True, now=made.now)
    made.hear(5000)
    assert [reason for _, reason in made.ends] == ["no_words"]


def test_with_silence_of_one_length_another_stream_ends_nothing() -> None:
    made = line(turn_detection="silence").hear(1000).words("book a table")
    made.policy.recognizer_changed(is_serving=True, now=made.now)
    assert made.hear(5000).ends == []


def test_sound_without_words_holds_speech_for_2_s_once_the_recognizer_is_back() -> None:
    made = line().hear(500)
    made.policy.recognizer_changed(is_serving=False, now=made.now)
    made.hear(3000)
    assert made.of(ReleaseSpeech) == []
    made.policy.recognizer_changed(is_serving=True, now=made.now)
    made.hear(2100)
    assert [each for _, each in made.of(ReleaseSpeech)] == [ReleaseSpeech(is_superseded=False)]


def test_a_backchannel_does_not_use_up_what_is_expected() -> None:
    made = line()
    made.policy.expect(Expectation("digits", length=3))
    made.agent(True).hear(200).words("okay").quiet(2500).commit("okay").agent(False)
    made.hear(1000).words("one two three").quiet(3000)
    assert made.ends[-1][0] - made.of(SpeechBegan)[-1][0] < 1000 + 500


def test_a_turn_that_is_committed_after_the_next_began_uses_it_up() -> None:
    made = line()
    made.policy.expect(Expectation("digits", length=9))
    made.hear(500).words("one two three").quiet(3000).hear(500)
    made.policy.committed("one two three", is_newest=False)
    assert made.note().of(ReleaseSpeech) == []
    made.words("the blue one").quiet(3000)
    first, second = (at - began for (began, _), (at, _) in zip(made.of(SpeechBegan), made.ends, strict=True))
    assert second < first


# --- interruptions --------------------------------------------------------------------------------


def test_a_run_of_voice_stops_the_agent_and_words_confirm_it() -> None:
    made = line().agent(True).hear(1000)
    ((at, _),) = made.of(StopSpeech)
    assert at - 400 == 300
    made.words("hold on a second")
    assert made.kinds == ["SpeechBegan", "StopSpeech", "InterruptionConfirmed"]


def test_a_cough_does_not_stop_it() -> None:
    made = line().agent(True).hear(240).quiet(2000).commit("")
    assert made.kinds == ["SpeechBegan", "SpeechEnded"]


def test_two_short_sounds_are_no_run() -> None:
    made = line().agent(True).hear(200).quiet(200).hear(200).quiet(2000)
    assert made.of(StopSpeech) == []


@pytest.mark.parametrize("background", [BACKGROUND, NO_VOICE])
def test_echo_and_others_do_not_stop_it(background: int) -> None:
    assert line().agent(True).hear(3000, background).decided == []


def test_words_stop_it_without_a_run_of_voice() -> None:
    made = line().agent(True).hear(100).quiet(200).words("stop")
    assert made.kinds == ["SpeechBegan", "StopSpeech", "InterruptionConfirmed"]


def test_how_many_words_is_a_setting() -> None:
    made = line(barge_in_min_words=3).agent(True).hear(100).quiet(100).words("wait please")
    assert made.of(StopSpeech) == []
    assert made.words("wait please stop").of(StopSpeech) != []
    assert line(barge_in_min_words=0).agent(True).hear(100).words("wait please stop").of(StopSpeech) == []


@pytest.mark.parametrize("text", ["mhm", "yeah yeah", "okay", "got it"])
def test_a_backchannel_stops_nothing(text: str) -> None:
    made = line().agent(True).hear(200).words(text).hear(400).quiet(1500).commit(text)
    assert made.of(StopSpeech) == []
    assert made.of(IgnoreSpeech)[0][1] == IgnoreSpeech("backchannel")
    assert made.policy.is_backchannel


def test_the_same_word_is_an_answer_when_the_agent_is_silent() -> None:
    made = line().hear(400).words("okay").quiet(1500).commit("okay")
    assert not made.policy.is_backchannel
    assert made.of(IgnoreSpeech) == []


@pytest.mark.parametrize("text", ["yes", "mhm", "okay"])
@pytest.mark.parametrize("expectation", [None, Expectation("yes_no"), Expectation("digits")])
def test_an_answer_that_comes_with_the_end_of_the_question_is_one(text: str, expectation: Expectation | None) -> None:
    made = line().agent(True)
    made.policy.expect(expectation)
    made.hear(200).words(text).agent(False).quiet(2500).commit(text)
    assert not made.policy.is_backchannel


@pytest.mark.parametrize(
    ("text", "expectation"),
    [("mhm", Expectation("yes_no")), ("yes", None), ("yes", Expectation("digits"))],
)
def test_one_that_stops_the_agent_and_was_not_asked_for_is_none(text: str, expectation: Expectation | None) -> None:
    made = line().agent(True)
    made.policy.expect(expectation)
    made.hear(400).words(text).quiet(600).commit(text)
    assert made.policy.is_backchannel
    assert made.of(ResumeSpeech) != []


def test_an_answer_that_stops_the_question_is_one() -> None:
    made = line().agent(True)
    made.policy.expect(Expectation("yes_no"))
    made.hear(400).words("yes").quiet(600).commit("yes")
    assert made.kinds == ["SpeechBegan", "StopSpeech", "SpeechEnded", "InterruptionConfirmed"]
    assert not made.policy.is_backchannel


def test_the_same_word_is_no_answer_while_the_agent_goes_on() -> None:
    made = line().agent(True)
    made.policy.expect(Expectation("yes_no"))
    made.hear(200).words("yes").quiet(1500).commit("yes")
    assert made.policy.is_backchannel


def test_a_backchannel_that_becomes_a_sentence_stops_it() -> None:
    made = line().agent(True).hear(200).words("okay").hear(300).words("okay but i need")
    assert made.kinds == ["SpeechBegan", "IgnoreSpeech", "StopSpeech", "InterruptionConfirmed"]


def test_one_that_becomes_a_sentence_when_the_agent_has_finished_is_none() -> None:
    made = line().agent(True).hear(200).words("okay")
    assert made.policy.is_backchannel
    made.agent(False).hear(400).words("okay i want a table")
    assert not made.policy.is_backchannel
    made.quiet(2000).commit("okay i want a table for two")
    assert not made.policy.is_backchannel


def test_an_interruption_without_words_is_taken_back() -> None:
    made = line().agent(True).hear(400).quiet(2000)
    ((stopped_at, _),) = made.of(StopSpeech)
    ((resumed_at, resumed),) = made.of(ResumeSpeech)
    assert resumed == ResumeSpeech("no_words")
    assert resumed_at - stopped_at == pytest.approx(1000, abs=40)


def test_one_that_turns_out_to_be_a_backchannel_too() -> None:
    made = line().agent(True).hear(600).words("mhm").quiet(2000)
    assert made.of(ResumeSpeech)[0][1] == ResumeSpeech("backchannel")
    assert made.of(InterruptionConfirmed) == []


def test_it_is_not_taken_back_while_the_caller_speaks() -> None:
    made = line().agent(True).hear(2500)
    assert made.of(ResumeSpeech) == []
    made.words("let me explain")
    assert made.of(InterruptionConfirmed) != []


def test_sound_without_words_does_not_silence_the_agent_for_good() -> None:
    made = line().agent(True).hear(8000)
    ((stopped_at, _),), ((resumed_at, _),) = made.of(StopSpeech), made.of(ResumeSpeech)
    assert resumed_at - stopped_at == 3000
    made.agent(True).hear(5000)
    assert len(made.of(StopSpeech)) == 1


def test_words_after_it_was_taken_back_stop_it_again() -> None:
    made = line().agent(True).hear(400).quiet(1600)
    assert made.of(ResumeSpeech) != []
    made.agent(True)
    made.policy.late_words("i said stop")
    assert made.note().kinds[-2:] == ["StopSpeech", "InterruptionConfirmed"]


def test_with_no_time_to_take_it_back_it_is_confirmed_at_once() -> None:
    made = line(barge_in_resume_ms=0).agent(True).hear(400)
    assert made.kinds == ["SpeechBegan", "StopSpeech", "InterruptionConfirmed"]


def test_what_may_not_be_interrupted_is_not() -> None:
    made = line().agent(True, is_interruptible=False).hear(1000).words("stop stop stop")
    assert made.of(StopSpeech) == []
    assert made.of(IgnoreSpeech)[0][1] == IgnoreSpeech("uninterruptible")
    assert line(barge_in=False).agent(True).hear(1000).words("stop stop stop").of(StopSpeech) == []


def test_at_the_first_sound_if_that_is_set() -> None:
    made = line(barge_in_min_ms=0).agent(True).hear(60)
    assert made.kinds == ["SpeechBegan", "StopSpeech"]


# --- the floor is the caller's --------------------------------------------------------------------


def test_speech_is_held_while_the_turn_is_open_and_superseded_by_words() -> None:
    made = line().hear(500).words("yes").quiet(1500).commit("yes")
    # Before the caller's first words, what is said answers nothing that could be out of date.
    assert made.of(ReleaseSpeech)[0][1] == ReleaseSpeech(is_superseded=False)
    made.decided.clear()
    made.hear(1000)
    assert made.kinds == ["SpeechBegan", "HoldSpeech"]
    made.words("one more thing").quiet(1500).commit("one more thing")
    assert made.of(ReleaseSpeech) == [(made.frames * 20, ReleaseSpeech(is_superseded=True))]


def test_a_turn_without_words_holds_it_and_supersedes_nothing() -> None:
    made = line().hear(100).quiet(1500).commit("")
    assert made.of(ReleaseSpeech)[0][1] == ReleaseSpeech(is_superseded=False)


def test_sound_without_words_does_not_hold_it_for_good() -> None:
    made = line().hear(5000)
    assert made.of(ReleaseSpeech) == [(400 + 60 + 2000, ReleaseSpeech(is_superseded=False))]


def test_words_supersede_it_though_another_turn_has_begun_when_they_are_committed() -> None:
    made = line().hear(500).words("yes").quiet(1500).commit("yes")
    made.hear(500).words("no thanks").quiet(1500).hear(500)
    made.policy.committed("no thanks", is_newest=False)
    made.note().quiet(1500).commit("")
    assert [each for _, each in made.of(ReleaseSpeech)][1:] == [ReleaseSpeech(is_superseded=True)]
    made.hear(100).quiet(1500).commit("")
    assert made.of(ReleaseSpeech)[-1][1] == ReleaseSpeech(is_superseded=False)


def test_words_hold_it_as_long_as_the_turn_is_open() -> None:
    made = line().hear(1000).words("well").hear(2500).words("well you see")
    assert made.of(ReleaseSpeech) == []


def test_while_no_recognizer_can_tell_words_sound_holds_it() -> None:
    made = line()
    made.policy.recognizer_changed(is_serving=False, now=made.now)
    assert made.hear(5000).of(ReleaseSpeech) == []


def test_an_agent_that_speaks_is_not_held() -> None:
    assert line().agent(True).hear(200).of(HoldSpeech) == []


def test_an_agent_that_ends_while_the_caller_says_something_is_held_from_then_on() -> None:
    made = line().agent(True, is_interruptible=False).hear(400).words("wait a moment").agent(False)
    assert made.is_to_hold
    made.quiet(2000).commit("wait a moment")
    assert made.of(ReleaseSpeech) != []
    for text in ("", "mhm"):
        made = line().agent(True, is_interruptible=False).hear(200).words(text).agent(False)
        assert not made.is_to_hold
    assert not line(turn_detection="silence").agent(True).hear(400).words("wait a moment").agent(False).is_to_hold


def test_with_silence_of_one_length_nothing_is_held() -> None:
    assert line(turn_detection="silence").hear(200).of(HoldSpeech) == []


# --- the model ------------------------------------------------------------------------------------


def asked(text: str = "the blue one") -> tuple[Line, AskEndOfTurn]:
    """A caller who pauses, and what the model is asked."""
    made = Line(TurnPolicy(Settings(language="en-US"), asks_model=True)).quiet(400)
    made.hear(1000).words(text).quiet(200)
    ((_, question),) = made.of(AskEndOfTurn)
    assert isinstance(question, AskEndOfTurn)
    return made, question


def test_a_model_is_asked_in_each_pause_and_only_if_there_is_one() -> None:
    made, question = asked()
    assert (question.end_sample, question.text) == (1400 * 8, "the blue one")
    assert len(made.quiet(200).hear(300).quiet(400).of(AskEndOfTurn)) == 2
    assert line().hear(1000).quiet(3000).of(AskEndOfTurn) == []


@pytest.mark.parametrize(("probability", "sooner"), [(1.0, True), (0.0, False)])
def test_its_answer_counts_as_much_as_the_text(probability: float, sooner: bool) -> None:
    made, question = asked()
    made.policy.end_of_turn(probability, question.end_sample)
    ((at, _),) = made.quiet(3000).ends
    plain = line().hear(1000).words("the blue one").quiet(3000).ends[0][0]
    assert (at < plain) == sooner
    assert at != plain


def test_an_answer_that_is_late_means_nothing_once_the_caller_has_gone_on() -> None:
    made, question = asked()
    made.hear(500).words("the blue one with")
    made.policy.end_of_turn(1.0, question.end_sample)
    assert made.quiet(1500).ends == []


def test_what_it_said_is_forgotten_when_the_caller_goes_on() -> None:
    made, question = asked("yes")
    made.policy.end_of_turn(1.0, question.end_sample)
    made.hear(500).quiet(600)
    assert made.ends == []


# --- always ---------------------------------------------------------------------------------------

happenings = st.one_of(
    st.tuples(st.just("hear"), st.sampled_from([20, 100, 200, 400, 1000, 2500]), st.sampled_from([0, 0, 1, 1, 2])),
    st.tuples(st.just("words"), st.sampled_from(["", "yes", "mhm", "i would like to", "five five", "stop it now"])),
    st.tuples(st.just("commit"), st.sampled_from(["", "yes", "mhm", "stop it now"])),
    st.tuples(st.just("agent"), st.booleans(), st.booleans()),
    st.tuples(st.just("serving"), st.booleans()),
    st.tuples(st.just("model"), st.floats(0, 1)),
)


def interruptions(made: Line) -> list[str]:
    return [kind for kind in made.kinds if kind in ("StopSpeech", "InterruptionConfirmed", "ResumeSpeech")]


@given(st.lists(happenings, max_size=40), st.sampled_from(["adaptive", "silence"]), st.sampled_from([0, 1000]))
def test_whatever_happens_decisions_come_in_order(story: list[tuple[Any, ...]], detection: str, resume_ms: int) -> None:
    settings = Settings(language="en-US", turn_detection=detection, barge_in_resume_ms=resume_ms)
    made = Line(TurnPolicy(settings, asks_model=True)).quiet(400)
    for what, *how in story:
        match what:
            case "serving":
                made.policy.recognizer_changed(is_serving=how[0], now=made.now)
            case "model":
                for _, question in made.of(AskEndOfTurn)[-1:]:
                    made.policy.end_of_turn(how[0], question.end_sample)  # type: ignore[union-attr]
            case "agent" if how[0] and len(interruptions(made)) % 2:
                pass  # an agent that is stopped is silent, unless it has dropped what it was saying
            case _:
                getattr(made, what)(*how)
        made.note()
    made.policy.stop()
    made.note().commit("")
    turns = [kind for kind in made.kinds if kind in ("SpeechBegan", "SpeechEnded")]
    assert turns == ["SpeechBegan", "SpeechEnded"] * (len(turns) // 2)
    stops = interruptions(made)
    assert all(stop == "StopSpeech" for stop in stops[::2])
    assert all(end != "StopSpeech" for end in stops[1::2])
    assert len(stops) % 2 == 0
    holds = [kind for kind in made.kinds if kind in ("HoldSpeech", "ReleaseSpeech")]
    assert holds[-1:] != ["HoldSpeech"]
    assert "ReleaseSpeech" not in holds[::2][:1]
    assert made.policy.next_deadline() is None
