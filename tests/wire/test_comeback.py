"""A call that comes back by another stream: it goes on as one call, and nobody takes it away while it is live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

import pytest

from fastcall.server import comeback
from peers import PATIENCE_S, Phone, both_paths, phones, serving, tones


async def end(old: Phone, how: str) -> None:
    if how == "stop":
        await old.stop()
    elif how == "close":
        await old.socket.close()


@both_paths
@pytest.mark.parametrize("how", ["stop", "close", "fall silent"])
async def test_a_call_goes_on_over_a_newer_stream_as_one_call(
    how: str, prompt_emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastcall")
    async with serving(prompt_emulator) as served, phones(served.url) as (old, new):
        await old.start()
        await old.say(tones("[200] apple [700]"))
        await served.transcripts.wait_for(old.call_sid, "utterance_end")
        await new.start()
        await new.say(tones("[200] arrow autumn [700]"))
        await old.say(tones("[60]"))
        await end(old, how)
        second = await served.transcripts.wait_for(old.call_sid, "utterance_end", 2)
        await new.say(tones("[200] bottle [700]"))
        await served.transcripts.wait_for(old.call_sid, "utterance_end", 3)
        code, reason = await old.closed()
        await new.stop()
        await served.transcripts.wait_for(old.call_sid, "call_ended")
        numbers = served.server.snapshot()
    assert served.transcripts.utterances(old.call_sid) == ["apple", "arrow autumn", "bottle"]
    assert served.transcripts.milestones(old.call_sid) == [
        *("call_started", "session_started", "utterance_end", "utterance_end", "utterance_end"),
        *("session_closed", "call_ended"),
    ]
    begins = served.transcripts.of(old.call_sid, "utterance_begin")
    assert len({record["utterance_id"] for record in begins}) == 3
    starts = [record["start_ms"] for record in begins]
    assert starts == sorted(starts)
    assert second["stream_sid"] == "MZnew"
    assert (numbers["calls_started"], numbers["calls_ended"], numbers["calls_moved"]) == (1, 1, 1)
    assert numbers["calls_refused"] == {}
    assert sum("[STT] Streaming session started" in line for line in caplog.messages) == 1
    if how != "close":
        assert (code, reason) == (1000, "the call continues on another stream")


@both_paths
async def test_the_time_in_which_no_stream_spoke_is_call_time(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comeback, "FALLEN_SILENT_S", 0.5)
    async with serving(prompt_emulator) as served, phones(served.url) as (old, new):
        await old.start()
        await old.say(tones("[500] apple [700]"))
        await served.transcripts.wait_for(old.call_sid, "utterance_end")
        await new.start()
        await old.closed()
        await new.say(tones("[500] arrow [700]"))
        await served.transcripts.wait_for(old.call_sid, "utterance_end", 2)
        numbers = served.server.snapshot()
    assert served.transcripts.utterances(old.call_sid) == ["apple", "arrow"]
    gap_ms = numbers["gap_samples"] / 8
    assert gap_ms >= 450
    first, second = served.transcripts.of(old.call_sid, "utterance_begin")
    spoken_ms = len(tones("[500] apple [700]")) // 8
    assert abs(second["start_ms"] - first["start_ms"] - spoken_ms - gap_ms) <= 60


@both_paths
async def test_a_newer_stream_is_refused_when_the_older_one_goes_on(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comeback, "HOLD_S", 0.3)
    async with serving(prompt_emulator) as served, phones(served.url) as (old, new):
        await old.start()
        await old.say(tones("[200] apple"))
        await served.transcripts.wait_for(old.call_sid, "session_started")
        await new.start()
        await new.say(tones("[200] bottle"))
        code, reason = await new.closed()
        assert code == 1008
        assert reason is not None
        assert reason.startswith("this call already has a socket")
        await old.say(tones("arrow [700]"))
        await served.hang_up(old)
        assert served.server.snapshot()["calls_refused"] == {"second_socket": 1}
    assert served.transcripts.utterances(old.call_sid) == ["apple arrow"]
    assert served.transcripts.milestones(old.call_sid).count("call_started") == 1


async def test_a_crowd_that_waits_for_one_call_is_refused_at_once(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, contextlib.AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(Phone(served.url, "crowd")) for _ in range(7)]
        for phone in phones:
            await phone.start()
            await phone.say(tones("[100]"))
            if phone is phones[0]:
                await served.transcripts.wait_for(phone.call_sid, "call_started")
        assert (await phones[6].closed())[0] == 1008


@both_paths
async def test_a_newer_stream_that_goes_before_its_turn_leaves_the_call_alone(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, phones(served.url) as (old, new):
        await old.start()
        await old.say(tones("[200] apple"))
        await served.transcripts.wait_for(old.call_sid, "session_started")
        await new.start()
        await new.say(tones("[200] bottle"))
        await new.socket.close()
        await old.say(tones("arrow [700]"))
        await served.hang_up(old)
        assert served.server.snapshot()["calls_moved"] == 0
    assert served.transcripts.utterances(old.call_sid) == ["apple arrow"]


@both_paths
async def test_a_stream_that_begins_after_the_stop_is_a_call_of_its_own(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, phones(served.url) as (old, new):
        await served.take_call(old, "[200] apple [700]")
        await new.start()
        await new.say(tones("[200] arrow [700]"))
        await new.stop()
        await served.transcripts.wait_for(old.call_sid, "call_ended", 2)
        numbers = served.server.snapshot()
    ends = served.transcripts.of(old.call_sid, "utterance_end")
    assert [(record["text"], record["stream_sid"]) for record in ends] == [
        ("apple", old.ids.stream_sid),
        ("arrow", "MZnew"),
    ]
    assert (numbers["calls_started"], numbers["calls_moved"], numbers["calls_refused"]) == (2, 0, {})


async def receive(phone: Phone, event: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while (message := json.loads(await phone.socket.recv()))["event"] != event:
            pass
    return message


@both_paths
async def test_the_handler_goes_on_speaking_on_the_newer_stream(prompt_emulator: str) -> None:
    async with (
        serving(prompt_emulator, handler="talkers:speak_then_tell", barge_in=False) as served,
        phones(served.url) as (old, new),
    ):
        await old.start()
        assert (await receive(old, "media"))["streamSid"] == old.ids.stream_sid
        await new.start()
        await new.say(tones("[100]"))
        await old.stop()
        media = await receive(new, "media")
        assert media["streamSid"] == "MZnew"
        # Its mark, queued behind the speech, goes to the newer stream; what that one is sent comes back from it.
        told = ""
        async with asyncio.timeout(PATIENCE_S):
            while not told.startswith("told"):
                message = json.loads(await new.socket.recv())
                assert message["streamSid"] == "MZnew"
                if message["event"] == "mark":
                    told = message["mark"]["name"]
                    await new.socket.send(new.messages.mark(told))
        await new.stop()
        await served.transcripts.wait_for(old.call_sid, "call_ended")
    assert told == "told MZnew first done"
    # One speech was cut by the change, the other by it in its beginning only: both are told of to their end.
    states = [record["state"] for record in served.transcripts.of(old.call_sid, "agent_audio")]
    assert sorted(states)[:2] == ["begin", "begin"]
    assert len(states) == 4
