"""Whether a machine has answered: each witness, its limits, and calls in which none is heard."""

from __future__ import annotations

import pytest

from fastcall.events import BeepHeard, MachineDetected
from fastcall.turns.lexicon import Lexicon, lexicon_of
from fastcall.turns.machine_detection import MachineDetection

S, MS = 8000, 8
OUTBOUND = {"Direction": "outbound-api"}
FLUENT = " ".join(["word"] * 18)


def call(parameters: dict[str, str] = OUTBOUND, language: str = "en-US") -> MachineDetection:
    return MachineDetection(parameters, lexicon_of(language))


def greeting(detection: MachineDetection, text: str, seconds: float, *, run_s: float = 1.0) -> MachineDetection:
    """The call's first turn: its text when it has gone on for so long, the newest run of voice for ``run_s``."""
    detection.turn_began(1, S)
    end = S + int(seconds * S)
    detection.text(1, text, end, end - int(run_s * S))
    return detection


def names(detection: MachineDetection) -> list[str]:
    return [each.reason if isinstance(each, MachineDetected) else "BEEP" for each in detection.take()]


# --- Twilio's verdict ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answered_by", "found"),
    [
        ("machine_start", ["twilio"]), ("machine_end_beep", ["twilio", "BEEP"]), ("machine_end_silence", ["twilio"]),
        ("machine_end_other", ["twilio"]), ("fax", ["twilio"]), (" Machine_Start ", ["twilio"]),
        ("human", []), ("unknown", []), ("", []), ("machine", []), ("{{AnsweredBy}}", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("direction", [None, "inbound", "outbound-api"])
def test_twilio_s_verdict(answered_by: str, found: list[str], direction: str | None) -> None:
    parameters = {"AnsweredBy": answered_by} | ({"Direction": direction} if direction else {})
    assert names(call(parameters)) == found


@pytest.mark.parametrize(
    ("parameters", "is_judged"),
    [
        ({}, False),
        ({"Direction": "inbound"}, False),
        ({"Direction": ""}, False),
        ({"Direction": "inbound", "AnsweredBy": ""}, False),
        ({"AnsweredBy": "{{AnsweredBy}}"}, False),
        ({"direction": "outbound-api"}, False),
        ({"AnsweredBy": "human"}, False),
        ({"AnsweredBy": "human", "Direction": "outbound-api"}, False),
        ({"AnsweredBy": "unknown"}, True),
        ({"Direction": "outbound-api"}, True),
        ({"Direction": " Outbound-Dial"}, True),
    ],
)
def test_only_outbound_calls_are_judged_by_words_and_sounds(parameters: dict[str, str], is_judged: bool) -> None:
    words = greeting(call(parameters), "please leave a message after the tone", 2)
    monologue = greeting(call(parameters), FLUENT, 9)
    beep = greeting(call(parameters), "hello", 2)
    beep.tone(4 * S, 5 * S)
    assert words.is_listening == is_judged
    assert [names(words), names(monologue), names(beep)] == (
        [["words"], ["monologue"], ["beep", "BEEP"]] if is_judged else [[], [], []]
    )


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("hi this is Dana, please leave a message after the tone", "en-US", ["words"]),
        ("You have reached the voicemail of Dana.", "en-GB", ["words"]),
        ("hello", "en-US", []),
        ("can I leave a message for Dana", "en-US", []),
        ("please leave a message after the tone", "tlh", []),
        ("", "en-US", []),
    ],
)
def test_words_of_a_greeting(text: str, language: str, found: list[str]) -> None:
    assert names(greeting(call(language=language), text, 3)) == found


@pytest.mark.parametrize(("at_s", "found"), [(30, ["words"]), (30.1, [])])
def test_words_count_in_the_first_30_s_in_any_turn(at_s: float, found: list[str]) -> None:
    detection = greeting(call(), "hello", 1)
    detection.turn_ended(2 * S)
    detection.turn_began(2, 4 * S)
    detection.text(2, "leave your message", int(at_s * S), 4 * S)
    assert names(detection) == found


# --- a monologue -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "seconds", "found"),
    [(18, 8, ["monologue"]), (17, 8, []), (18, 7.9, []), (17, 20, []), (60, 20, ["monologue"])],
)
def test_a_first_turn_of_8_s_and_18_words(words: int, seconds: float, found: list[str]) -> None:
    assert names(greeting(call(), " ".join(["word"] * words), seconds)) == found


def test_its_last_words_may_come_when_it_has_ended() -> None:
    detection = call()
    detection.turn_began(1, S)
    detection.turn_ended(9 * S)
    detection.text(1, FLUENT, 12 * S, 8 * S)
    assert names(detection) == ["monologue"]


def test_the_time_after_its_end_does_not_count() -> None:
    detection = greeting(call(), "hello", 1)
    detection.turn_ended(8 * S)
    detection.text(1, FLUENT, 12 * S, 7 * S)
    assert names(detection) == []


def test_only_the_first_turn_with_words_counts() -> None:
    detection = call()
    detection.turn_began(1, 0)  # a cough
    detection.turn_ended(S)
    detection.turn_began(2, 2 * S)
    detection.text(2, FLUENT, 10 * S, 9 * S)
    assert names(detection) == ["monologue"]
    detection = greeting(call(), "hello", 1)
    detection.turn_ended(2 * S)
    detection.turn_began(2, 4 * S)
    detection.text(2, FLUENT, 20 * S, 19 * S)
    assert names(detection) == []


@pytest.mark.parametrize(
    ("agent_s", "run_s", "found"),
    [
        (None, 1, ["monologue"]),
        (0.5, 1, []),  # an answer, with pauses for breath
        (0.5, 8, ["monologue"]),  # without any
        (0.5, 7.9, []),
        (0.7, 1, ["monologue"]),  # too soon for an answer: both began at once
        (5, 1, ["monologue"]),  # it goes on though the agent speaks
    ],
)
def test_who_answers_the_agent_may_speak_for_long(agent_s: float | None, run_s: float, found: list[str]) -> None:
    detection = call()
    if agent_s is not None:
        detection.agent_spoke(int(agent_s * S))
        detection.agent_spoke(20 * S)
    assert names(greeting(detection, FLUENT, 9, run_s=run_s)) == found


# --- a beep ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start_ms", "length_ms", "found"),
    [
        (3000, 180, ["beep", "BEEP"]),
        (3000, 179, []),
        (3000, 3000, ["beep", "BEEP"]),
        (3000, 3001, []),
        (59_000, 1000, ["beep", "BEEP"]),
        (59_001, 1000, []),
        (1500, 500, ["beep", "BEEP"]),
        (1499, 500, []),
        (100, 500, []),
    ],
)
def test_a_beep_after_a_greeting(start_ms: int, length_ms: int, found: list[str]) -> None:
    detection = greeting(call(), "hello", 1)  # from 1 s on
    detection.tone(start_ms * MS, (start_ms + length_ms) * MS)
    assert names(detection) == found


def test_before_any_voice_a_tone_is_none() -> None:
    detection = call()
    detection.tone(2 * S, 3 * S)
    assert names(detection) == []


@pytest.mark.parametrize("answered_by", ["machine_start", "machine_end_silence", "machine_end_other"])
def test_with_a_machine_known_any_tone_is_its_beep(answered_by: str) -> None:
    detection = call({"AnsweredBy": answered_by})
    assert names(detection) == ["twilio"]
    detection.tone(S, 2 * S)
    assert names(detection) == ["BEEP"]


def test_a_fax_does_not_ask_for_a_message() -> None:
    detection = call({"AnsweredBy": "fax"})
    detection.tone(S, 2 * S)
    assert names(detection) == ["twilio"]


def test_each_is_reported_once() -> None:
    detection = greeting(call(), "please leave a message after the tone", 3)
    detection.text(1, "please leave a message after the tone " + FLUENT, 20 * S, S)
    assert detection.take() == [MachineDetected("words")]
    assert detection.is_listening
    detection.tone(10 * S, 11 * S)
    detection.tone(12 * S, 13 * S)
    assert detection.take() == [BeepHeard()]
    assert not detection.is_listening


def test_a_call_without_a_lexicon_has_the_other_witnesses() -> None:
    detection = greeting(MachineDetection(OUTBOUND, Lexicon()), FLUENT, 9)
    assert names(detection) == ["monologue"]
