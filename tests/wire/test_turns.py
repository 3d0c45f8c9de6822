"""Turns on real sockets, with a recognizer that tells words at their times: their ends, interruptions, what is held."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from peers import PATIENCE_S, Phone, Served, serving, start_emulator, tones

VOICE = tones("apple arrow autumn badge bamboo basket")
SECOND = 8000


def voice(seconds: float) -> bytes:
    return (VOICE * 9)[: int(SECOND * seconds)]


def silence(seconds: float) -> bytes:
    return b"\xff" * int(SECOND * seconds)


@asynccontextmanager
async def call(
    folder: Path, script: list[dict[str, Any]], handler: str | None = None, **settings: Any
) -> AsyncIterator[tuple[Served, Phone]]:
    """A call whose recognizer says what is in ``script``, whatever it hears."""
    (folder / "script.yaml").write_text(json.dumps(script), encoding="utf-8")
    emulator = await asyncio.to_thread(
        start_emulator, "--engine", "script", "--script", str(folder / "script.yaml"), "--final-delay-s", "0"
    )
    try:
        handler = handler and f"turn_handlers:{handler}"
        # A busy machine may be late with the words of a turn that is over.
        settings = {"utterance_commit_ms": 5000} | settings
        async with serving(emulator.ready[1], handler=handler, **settings) as served, Phone(served.url) as phone:
            await phone.start()
            yield served, phone
    finally:
        await asyncio.to_thread(emulator.stop)


async def ended(served: Served, phone: Phone) -> list[dict[str, Any]]:
    """The transcript of the call, which ends now."""
    await phone.stop()
    await phone.socket.close()
    await served.transcripts.wait_for(phone.call_sid, "call_ended")
    return served.transcripts.of(phone.call_sid)


def events_of(records: list[dict[str, Any]], *names: str) -> list[str]:
    """Of these records, in order: event or state, and text."""
    found = [record for record in records if record["event"] in names]
    return [f"{record.get('state') or record['event']} {record.get('text') or ''}".strip() for record in found]


BREAKS_OFF = [
    {"words": [["i", 0.5, 0.6], ["would", 0.7, 0.8], ["like", 0.9, 1.1], ["to", 1.2, 1.4]]},
    {"words": [["book", 2.6, 2.8], ["a", 2.9, 3.0], ["table", 3.1, 3.4]]},
]


# On a busy machine words are late: the silences here are long enough for that.
PATIENT = {"turn_min_silence_ms": 1500, "turn_max_silence_ms": 4000}


@pytest.mark.parametrize(("detection", "turns"), [("adaptive", 1), ("silence", 2)])
async def test_a_pause_in_the_middle_of_a_sentence_ends_no_turn(tmp_path: Path, detection: str, turns: int) -> None:
    async with call(tmp_path, BREAKS_OFF, turn_detection=detection, **PATIENT) as (served, phone):
        await phone.speak(silence(0.5) + voice(0.9) + silence(1.1) + voice(0.9) + silence(4.0))
        records = await ended(served, phone)
    ends = [record for record in records if record["event"] == "utterance_end"]
    assert len(ends) == turns
    assert " ".join(record["text"] for record in ends) == "i would like to book a table"
    assert ends[-1]["turn_end"] == "hangover"


async def test_an_expected_number_is_waited_for_to_its_last_digit(tmp_path: Path) -> None:
    script = [
        {"words": [["five", 0.5, 0.8], ["five", 0.9, 1.3]]},
        {"words": [["one", 2.8, 3.0], ["two", 3.1, 3.4]]},
    ]
    async with call(tmp_path, script, "expect_digits", **PATIENT) as (served, phone):
        await phone.speak(silence(0.5) + voice(0.9) + silence(1.4) + voice(0.7) + silence(4.0))
        records = await ended(served, phone)
    assert [record["text"] for record in records if record["event"] == "utterance_end"] == ["five five one two"]


async def test_an_interruption_without_words_is_taken_back_and_the_rest_is_said(tmp_path: Path) -> None:
    script = [{"at_s": 30.0, "text": "never"}]
    async with call(tmp_path, script, "speak_and_listen", barge_in_resume_ms=500) as (served, phone):
        await phone.speak(silence(0.8) + voice(0.5) + silence(1.5))
        await served.transcripts.wait_for(phone.call_sid, "agent_audio", 3)
        messages = await received(phone, until="media", after="clear")
        records = await ended(served, phone)
    assert "clear" in messages
    told = events_of(records, "agent_audio", "barge_in")
    assert told[:4] == [
        "begin one two three four five six seven eight nine ten",
        "paused one two three four five six seven eight nine ten",
        told[2],
        "resumed one two three four five six seven eight nine ten",
    ]
    assert told[2].startswith("barge_in")


async def test_one_with_words_is_told_and_the_rest_is_not_said(tmp_path: Path) -> None:
    script = [{"words": [["hold", 0.9, 1.1], ["on", 1.2, 1.3], ["please", 1.4, 1.7]]}]
    async with call(tmp_path, script, "speak_and_listen", barge_in_resume_ms=10_000) as (served, phone):
        await phone.speak(silence(0.8) + voice(1.0) + silence(1.5))
        await served.transcripts.wait_for(phone.call_sid, "utterance_end")
        marks = await received(phone, until="heard hold on please, turn")
        records = await ended(served, phone)
    assert "barge-in" in marks
    states = [record["state"] for record in records if record["event"] == "agent_audio"]
    assert states[0] == "begin"
    assert states[-1] == "cut"
    assert "resumed" not in states


async def test_a_backchannel_stops_nothing(tmp_path: Path) -> None:
    script = [{"words": [["okay", 0.85, 0.9]]}]
    async with call(tmp_path, script, "speak_and_listen") as (served, phone):
        await phone.speak(silence(0.8) + voice(0.24) + silence(2.0))
        await served.transcripts.wait_for(phone.call_sid, "utterance_end")
        marks = await received(phone, until="heard okay, backchannel", most=400, echoes=True)
        records = await ended(served, phone)
    assert "clear" not in marks
    assert events_of(records, "barge_in") == []
    (ignored,) = [record for record in records if record["event"] == "not_interrupted"]
    assert ignored["reason"] == "backchannel"
    (end,) = [record for record in records if record["event"] == "utterance_end"]
    assert (end["text"], end["backchannel"]) == ("okay", True)


async def test_a_notice_is_said_to_its_end(tmp_path: Path) -> None:
    script = [{"words": [["hold", 0.9, 1.1], ["on", 1.2, 1.3]]}]
    async with call(tmp_path, script, "say_a_notice") as (served, phone):
        await phone.speak(silence(0.8) + voice(1.0) + silence(1.5))
        await served.transcripts.wait_for(phone.call_sid, "utterance_end")
        records = await ended(served, phone)
    assert events_of(records, "barge_in") == []
    assert [record["reason"] for record in records if record["event"] == "not_interrupted"] == ["uninterruptible"]


async def test_what_is_said_while_the_caller_speaks_waits_and_new_words_supersede_it(tmp_path: Path) -> None:
    script = [
        {"words": [["yes", 0.6, 0.8], ["please", 0.9, 1.2]]},
        {"words": [["no", 7.1, 7.3], ["thanks", 7.4, 7.8]]},
    ]
    async with call(tmp_path, script, "speak_too_early", utterance_commit_ms=300) as (served, phone):
        await phone.speak(silence(0.5) + voice(0.9) + silence(5.6) + voice(3.0) + silence(1.5))
        await served.transcripts.wait_for(phone.call_sid, "utterance_end", 2)
        records = await ended(served, phone)
    # The phone returns no marks: the first counts as heard 2 s after its end. It answered nothing that could be out of
    # date; the second was said before the words that it answers.
    told = events_of(records, "utterance_end", "agent_audio")
    assert told[:5] == [
        "held answer 1",
        "utterance_end yes please",
        "begin answer 1",
        "cut answer 1",
        "held answer 2",
    ]
    assert told[5] == "utterance_end no thanks"
    assert told[-1] == "dropped answer 2"


@pytest.mark.parametrize("is_asked", [False, True])
async def test_a_model_in_a_process_of_its_own_is_asked_about_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_asked: bool
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    # By its text alone the turn would go on: what sounds like an end halves the silence.
    script = [{"words": [["i", 0.5, 0.6], ["would", 0.7, 0.8], ["like", 0.9, 1.1], ["to", 1.2, 1.4]]}]
    model = {"turn_model": "turn_handlers:SoundModel", "turn_model_timeout_ms": 2000} if is_asked else {}
    silences = {"turn_min_silence_ms": 400, "turn_max_silence_ms": 4500}
    async with call(tmp_path, script, **silences, **model) as (served, phone):
        await phone.speak(silence(0.5) + voice(0.9) + silence(3.6))
        is_over = bool(served.transcripts.of(phone.call_sid, "utterance_end"))
        await ended(served, phone)
    assert is_over == is_asked


async def test_one_s_own_judgement_decides(tmp_path: Path) -> None:
    script = [{"words": [["yes", 0.5, 0.7], ["please", 0.8, 1.2]]}]
    own = {"turn_completeness": "turn_handlers:never_whole", "turn_min_silence_ms": 400, "turn_max_silence_ms": 4500}
    async with call(tmp_path, script, **own) as (served, phone):
        await phone.speak(silence(0.5) + voice(0.9) + silence(3.0))
        assert served.transcripts.of(phone.call_sid, "utterance_end") == []
        records = await ended(served, phone)
    assert [record["text"] for record in records if record["event"] == "utterance_end"] == ["yes please"]


async def received(
    phone: Phone, *, until: str, after: str | None = None, most: int = 200, echoes: bool = False
) -> list[str]:
    """What the server sends, by event, or a handler's mark by its name, until ``until`` comes (after ``after``)."""
    seen: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(seen) < most:
            message = json.loads(await phone.socket.recv())
            seen.append(message["mark"]["name"] if message["event"] == "mark" else message["event"])
            if message["event"] == "mark" and echoes:
                await phone.socket.send(phone.messages.mark(seen[-1]))
            if seen[-1] == until and (after is None or after in seen):
                break
    assert seen[-1] == until
    return seen
