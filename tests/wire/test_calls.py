"""Whole calls: real sockets in, a real recognizer over real gRPC, transcripts out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from itertools import pairwise

import pytest
from websockets.exceptions import ConnectionClosedOK

import talkers
from fastcall._codec import Debouncer
from fastcall.simulator import TwilioCaller, place_calls
from fastcall.simulator.twilio_client import CallIds, PhoneAudio
from pacing import PacedDebouncer
from peers import PATIENCE_S, Phone, are_said, serving, tones, words_of_call
from thoroughness import amount

# They speak and are served in one process: no more than a machine that others use keeps up with.
CALLS = amount(20, thorough=50)


def sentences_of_call(number: int) -> list[str]:
    """Three sentences of 3, 4 and 2 words."""
    words = words_of_call(number, 9)
    return [" ".join(words[:3]), " ".join(words[3:7]), " ".join(words[7:])]


async def test_many_calls_at_once_and_every_word_is_where_it_was_said(emulator: str) -> None:
    calls = [(CallIds.derive("many", number), sentences_of_call(number)) for number in range(CALLS)]
    assert len({tuple(sentences) for _, sentences in calls}) == CALLS
    async with serving(emulator) as served:
        callers = [
            TwilioCaller(
                served.url,
                PhoneAudio(tones("[300] " + " [1100] ".join(sentences)), tail_s=1.6),
                ids=ids,
                first_timestamp_ms=100 + number,
            )
            for number, (ids, sentences) in enumerate(calls)
        ]
        reports = await place_calls(callers, ramp_s=1.0)
        for ids, _ in calls:
            await served.transcripts.wait_for(ids.call_sid, "call_ended")
    assert [report.error for report in reports if not report.ok] == []
    for ids, sentences in calls:
        heard = served.transcripts.utterances(ids.call_sid)
        assert are_said(heard, sentences), (heard, sentences)
        names = [record["event"] for record in served.transcripts.of(ids.call_sid)]
        assert names[:2] == ["call_started", "session_started"]
        assert names[-2:] == ["session_closed", "call_ended"]
        for once in ("call_started", "session_started", "session_closed", "call_ended"):
            assert names.count(once) == 1
        assert names.count("utterance_begin") == names.count("utterance_end") == len(heard)
        assert not {"session_failed", "session_rotated"} & set(names)


@pytest.mark.parametrize(
    ("heard", "right"),
    [
        (["a b", "c"], True),
        (["a", "", "b", "c", ""], True),
        (["a b c"], False),
        (["a b"], False),
        (["a b", "c", "d"], False),
        (["a", "b c"], False),
        (["c", "a b"], False),
    ],
)
def test_what_counts_as_said(heard: list[str], right: bool) -> None:
    assert are_said(heard, ["a b", "c"]) is right


async def test_partials_of_a_long_utterance(prompt_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 ms a word: a new hypothesis with every batch, faster than the debounce."""
    made: list[PacedDebouncer] = []

    def paced(interval_s: float) -> PacedDebouncer:
        made.append(PacedDebouncer(Debouncer(interval_s)))
        return made[-1]

    monkeypatch.setattr("fastcall.recognition.ledger.Debouncer", paced)
    said = words_of_call(1, 50)
    audio = PhoneAudio(tones(["[300]", *said], word_ms=100), tail_s=1.5)
    ids = CallIds.derive("partials", 0)
    async with serving(prompt_emulator, stt_batch_ms=40) as served:
        report = await TwilioCaller(served.url, audio, ids=ids).run()
        assert report.ok
        end = await served.transcripts.wait_for(ids.call_sid, "utterance_end")
        await served.transcripts.wait_for(ids.call_sid, "call_ended")
    partials = served.transcripts.of(ids.call_sid, "partial")
    assert end["text"] == " ".join(said)
    assert served.transcripts.utterances(ids.call_sid) == [" ".join(said)]
    assert len(partials) >= 15  # 5 s of speech, one each 180 ms at the most
    texts = [partial["text"] for partial in partials]
    assert all(later != earlier for earlier, later in pairwise(texts))
    assert all(end["text"].startswith(text) for text in texts)
    (pace,) = made
    assert len(pace.told_at) == len(partials)
    assert pace.shortest_gap_s >= 0.18
    # Not stale: the newest word was shown as soon as the debounce allowed, which is before the end of the hangover.
    assert texts[-1] == end["text"]
    assert partials[-1]["at"] <= end["at"]


async def test_the_log_lines_of_a_call_in_their_order(prompt_emulator: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastcall")
    ids = CallIds.derive("log", 0)
    audio = PhoneAudio(tones("[300] apple arrow [1000] autumn"), tail_s=1.5)
    async with serving(prompt_emulator) as served:
        await TwilioCaller(served.url, audio, ids=ids).run()
        await served.transcripts.wait_for(ids.call_sid, "call_ended")
    lines = [record.getMessage() for record in caplog.records if ids.call_sid in record.getMessage()]
    lines = [line.removesuffix(f" call={ids.call_sid}") for line in lines]
    starts = [line for line in lines if not line.startswith("🟡")]
    call = f"call={ids.call_sid}"
    assert starts == [
        "[STT] Streaming session started",
        f"🟢 Final: apple arrow {call} utt=1",
        f"🟢 Final: autumn {call} utt=2",
        "[STT] Streaming session closed",
    ]
    assert lines.index(f"🟡 Partial: apple arrow {call} utt=1") < lines.index(f"🟢 Final: apple arrow {call} utt=1")
    assert "[CFG] ENABLE_STREAMING_STT=True" in [record.getMessage() for record in caplog.records]


async def test_the_last_words_before_the_hang_up_are_in_the_transcript(emulator: str) -> None:
    """Neither the hangover nor the final has come when the caller is gone."""
    async with serving(emulator) as served, Phone(served.url, "last") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple arrow autumn badge [200]"))
        await phone.stop()
        await phone.socket.close()
        await served.transcripts.wait_for(phone.call_sid, "call_ended")
    assert served.transcripts.utterances(phone.call_sid) == ["apple arrow autumn badge"]


async def test_a_handler_that_hangs_up_ends_the_call_with_1000(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, handler="talkers:hang_up") as served, Phone(served.url, "hung up") as phone:
        await phone.start()
        with contextlib.suppress(ConnectionClosedOK):
            await phone.speak(tones("[300] apple [2000]"))
        assert await phone.closed() == (1000, "the handler hung up")
        await served.transcripts.wait_for(phone.call_sid, "call_ended")
    assert served.transcripts.utterances(phone.call_sid) == ["apple"]


async def test_a_handler_that_never_returns_is_ended_some_time_after_its_call(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastcall.agent.controller.HANDLER_GRACE_S", 0.05)
    async with serving(prompt_emulator, handler="talkers:hang") as served, Phone(served.url, "hanging") as phone:
        await phone.start()
        await served.transcripts.wait_for(phone.call_sid, "session_started")
        (task,) = (task for task in asyncio.all_tasks() if "_run_handler" in repr(task))
        await phone.stop()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([task])
    assert task.cancelled()
    assert talkers.ended_calls == [phone.call_sid]


async def test_frames_that_come_as_a_burst_after_a_stall_are_all_heard(emulator: str) -> None:
    async with serving(emulator) as served, Phone(served.url, "burst") as phone:
        await phone.start()
        await phone.say(tones("[300] apple arrow [1000] autumn badge [1000]"))
        await phone.stop()
        await phone.socket.close()
        await served.transcripts.wait_for(phone.call_sid, "call_ended")
    assert served.transcripts.utterances(phone.call_sid) == ["apple arrow", "autumn badge"]
