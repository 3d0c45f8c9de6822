"""What a provider may tell of one and the same speech, over real gRPC, and the text that comes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastcall import StreamingSTTSession
from fastcall.audio.tones import synthesize
from fastcall.settings import Settings
from peers import Phone, both_uplinks, serving, start_emulator, tones, way
from scripted_speech import Result, Script, result, scripted_speech

# Speech at 0.3 to 0.7 s, and at 1.8 to 2.2 s.
TWO = "[300] apple arrow [1100] autumn badge [1000]"


async def utterances(script: Script, audio: str = TWO) -> list[str]:
    """The utterances of a call with ``audio``, to which the recognizer tells ``script``."""
    with scripted_speech(script) as address:
        async with serving(address) as served, Phone(served.url, "texts") as phone:
            await phone.start()
            await phone.say(tones(audio))
            await served.transcripts.wait_for(phone.call_sid, "utterance_end", 2)
            await served.hang_up(phone)
        return served.transcripts.utterances(phone.call_sid)


@both_uplinks
@pytest.mark.parametrize(
    ("text", "words", "texts"),
    [
        (
            "你好，今天天气很好。",
            [("你好", 0.3, 0.7), ("今天", 1.8, 1.9), ("天气", 1.9, 2.0), ("很好", 2.0, 2.2)],
            ["你好，", "今天天气很好。"],
        ),
        (
            "今日はいい天気です",
            [
                ("今日|キョウ", 0.3, 0.5),
                ("は|ハ", 0.5, 0.7),
                ("いい", 1.8, 1.9),
                ("天気|テンキ", 1.9, 2.1),
                ("です", 2.1, 2.2),
            ],
            ["今日は", "いい天気です"],
        ),
        (
            "สวัสดีครับวันนี้อากาศดี",
            [
                ("สวัสดี", 0.3, 0.5),
                ("ครับ", 0.5, 0.7),
                ("วันนี้", 1.8, 1.9),
                ("อากาศ", 1.9, 2.0),
                ("ดี", 2.0, 2.2),
            ],
            ["สวัสดีครับ", "วันนี้อากาศดี"],
        ),
        (
            "សួស្តីថ្ងៃនេះអាកាសធាតុល្អ",
            [("សួស្តី", 0.3, 0.7), ("ថ្ងៃនេះ", 1.8, 1.9), ("អាកាសធាតុ", 1.9, 2.1), ("ល្អ", 2.1, 2.2)],
            ["សួស្តី", "ថ្ងៃនេះអាកាសធាតុល្អ"],
        ),
        (
            "ສະບາຍດີມື້ນີ້ອາກາດດີ",
            [("ສະບາຍດີ", 0.3, 0.7), ("ມື້ນີ້", 1.8, 1.9), ("ອາກາດ", 1.9, 2.1), ("ດີ", 2.1, 2.2)],
            ["ສະບາຍດີ", "ມື້ນີ້ອາກາດດີ"],
        ),
    ],
)
async def test_a_text_without_spaces_comes_out_as_it_was_told_cut_between_utterances(
    text: str, words: list[tuple[str, float, float]], texts: list[str]
) -> None:
    assert await utterances([(2.9, [result(text, final=True, end_s=2.6, words=words)])]) == texts


@both_uplinks
async def test_a_text_without_spaces_and_word_times_is_cut_where_the_first_utterance_was_heard_to_end() -> None:
    script = [
        (1.2, [result("你好", final=False, end_s=1.0)]),
        (2.5, [result("你好今天天气", final=False, end_s=2.3)]),
        (2.9, [result("你好今天天气很好", final=True, end_s=2.6)]),
    ]
    assert await utterances(script) == ["你好", "今天天气很好"]


def final(text: str, end_s: float | None, *starts_s: float) -> Result:
    """Its words take 0.15 s each; without starts they have no times."""
    timed = zip(text.split(), starts_s, strict=True) if starts_s else ()
    return result(text, final=True, end_s=end_s, words=[(word, start, start + 0.15) for word, start in timed])


GROWING_TIMED = [
    (1.5, [final("tell me a", 0.9, 0.3, 0.45, 0.6)]),
    (2.6, [final("tell me a joke", 2.3, 0.3, 0.45, 0.6, 1.8)]),
    (2.7, [final("tell me a joke", 2.3, 0.3, 0.45, 0.6, 1.8)]),
]
GROWING = [
    (1.5, [final("tell me a", 1.4)]),
    (2.3, [result("tell me a joke", final=False, end_s=2.1)]),
    (2.6, [final("tell me a joke", 2.3)]),
    (2.7, [final("tell me a joke", 2.3)]),
]


@both_uplinks
@pytest.mark.parametrize("script", [GROWING_TIMED, GROWING], ids=["with word times", "without"])
async def test_a_final_that_repeats_the_one_before_it_and_goes_on(script: Script) -> None:
    assert await utterances(script) == ["tell me a", "joke"]


@contextlib.contextmanager
def doubling_emulator(tmp_path: Path) -> Iterator[str]:
    scenario = tmp_path / "faults.yaml"
    scenario.write_text("faults:\n- fault: duplicate\n")
    process = start_emulator("--final-delay-s", "0", "--rewrite-rate", "0", "--scenario", str(scenario))
    try:
        yield process.ready[1]
    finally:
        process.stop()


async def test_an_emulator_that_says_everything_twice_is_heard_once_in_a_call(tmp_path: Path) -> None:
    with doubling_emulator(tmp_path) as address:
        async with serving(address) as served, Phone(served.url, "doubled") as phone:
            await phone.start()
            await phone.say(tones(TWO))
            await served.transcripts.wait_for(phone.call_sid, "final", 2)
            assert await served.hang_up(phone) == ["apple arrow", "autumn badge"]
        finals = [record["text"] for record in served.transcripts.of(phone.call_sid, "final")]
        assert finals == ["apple arrow", "autumn badge"]


def test_an_emulator_that_says_everything_twice_is_heard_once_by_a_session(tmp_path: Path) -> None:
    finals: list[str] = []
    with doubling_emulator(tmp_path) as address:
        settings = Settings(speech_emulator_host=address, language="en-US", **way())
        with StreamingSTTSession(lambda _: None, finals.append, settings=settings) as session:
            session.push_audio(synthesize(TWO))
    assert finals == ["apple arrow", "autumn badge"]


NO_ENDS = [
    (0.7, [result("tell me", final=False)]),
    (1.5, [final("tell me", None)]),
    (2.4, [result("a joke", final=False)]),
    (2.9, [final("a joke", None)]),
]
BEYOND = [(at, [result(r.alternatives[0].transcript, final=r.is_final, end_s=500) for r in rs]) for at, rs in NO_ENDS]
UNTIMED_WORDS = [
    (1.5, [result("tell me", final=True, end_s=0.9, words=[("tell", None, None), ("me", None, None)])]),
    (2.9, [result("a joke", final=True, end_s=2.4, words=[("a", None, None), ("joke", None, None)])]),
]


@both_uplinks
@pytest.mark.parametrize("script", [NO_ENDS, BEYOND, UNTIMED_WORDS], ids=["no ends", "beyond", "untimed words"])
async def test_results_with_times_that_are_missing_or_cannot_be(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    heard = await utterances(script)
    # Where a text without times is cut depends on how much audio was sent by then, which depends on the machine.
    assert (" ".join(heard), len(heard)) == ("tell me a joke", 2)
    told = [record.getMessage() for record in caplog.records if "recognizer's" in record.getMessage()]
    assert len(told) == 1
