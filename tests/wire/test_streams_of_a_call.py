"""Several streams of one call: those that are not the same one come back are calls of their own, side by side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass, field

import pytest

from fastcall.server import comeback
from fastcall.twilio.stream_tokens import PARAMETER, mint_token
from peers import PATIENCE_S, Phone, ask, both_paths, next_record, phones, reading, serving, tones
from workers import Records, on_the_line, serving_workers

SECRET = "a-stream-secret-of-some-length"
BOTH = ("inbound", "outbound")


@dataclass
class Kind:
    """What a stream says of itself in its start, beside its ids."""

    parameters: dict[str, str] = field(default_factory=dict)
    tracks: tuple[str, ...] = ("inbound",)

    async def start(self, phone: Phone, **parameters: str) -> None:
        await phone.start({**self.parameters, **parameters}, tracks=self.tracks)


MAIN = Kind()
MONITOR = Kind({"fastcall_stream": "monitor"})
TWO_TRACKS = Kind(tracks=BOTH)
others = pytest.mark.parametrize("other", [MONITOR, TWO_TRACKS], ids=["a fork with a name", "both tracks"])


async def say(phone: Phone, kind: Kind, text: str) -> None:
    """The caller says it; on the other track, if the stream has it, another word is said meanwhile."""
    other = tones("[300] bottle [1200]") if kind.tracks == BOTH else b""
    for message in phone.media(tones(text), other):
        await phone.socket.send(message)


# --- side by side -----------------------------------------------------------------------------------------------------


@both_paths
@others
@pytest.mark.parametrize("is_main_first", [True, False], ids=["the main one ends first", "the other ends first"])
async def test_two_streams_of_a_call_are_two_calls_and_one_that_ends_leaves_the_other(
    other: Kind, is_main_first: bool, prompt_emulator: str
) -> None:
    kinds = {"MZmain": MAIN, "MZother": other}
    async with serving(prompt_emulator) as served, phones(served.url, *kinds) as both:
        for phone in both:
            await kinds[phone.stream_sid].start(phone)
            await served.transcripts.wait_for(phone.stream_sid, "session_started")
        main, second = both
        await say(main, MAIN, "[300] apple [1200]")
        await say(second, other, "[300] arrow [1200]")
        for phone in both:
            await served.transcripts.wait_for(phone.stream_sid, "utterance_end")
        assert served.server.snapshot()["calls_live"] == 2
        first, last = (main, second) if is_main_first else (second, main)
        await first.stop()
        await served.transcripts.wait_for(first.stream_sid, "call_ended")
        await say(last, kinds[last.stream_sid], "[300] autumn [1200]")
        await served.transcripts.wait_for(last.stream_sid, "utterance_end", 2)
        assert served.server.snapshot()["calls_live"] == 1
        await last.stop()
        await served.transcripts.wait_for(last.stream_sid, "call_ended")
        numbers = served.server.snapshot()
    said = {"MZmain": ["apple"], "MZother": ["arrow"]}
    said[last.stream_sid].append("autumn")
    for phone in both:
        assert served.transcripts.utterances(phone.stream_sid) == said[phone.stream_sid]
        ends = ["utterance_end"] * len(said[phone.stream_sid])
        assert served.transcripts.milestones(phone.stream_sid) == [
            *("call_started", "session_started"),
            *ends,
            *("session_closed", "call_ended"),
        ]
        assert {record["call_sid"] for record in served.transcripts.of(phone.stream_sid)} == {main.call_sid}
    assert (numbers["calls_started"], numbers["calls_ended"], numbers["calls_moved"]) == (2, 2, 0)
    assert (numbers["calls_refused"], numbers["gaps"]) == ({}, 0)
    assert set(numbers["rejected_messages"]) == ({"other_track"} if other.tracks == BOTH else set())


@both_paths
@others
async def test_each_stream_comes_back_to_its_own_call(other: Kind, prompt_emulator: str) -> None:
    kinds = {"MZ1": MAIN, "MZ2": other, "MZ3": MAIN, "MZ4": other}
    async with serving(prompt_emulator) as served, phones(served.url, *kinds) as (main, second, main_again, again):
        for phone in (main, second):
            await kinds[phone.stream_sid].start(phone)
            await phone.say(tones("[300] apple [1200]"))
            await served.transcripts.wait_for(phone.stream_sid, "utterance_end")
        for newer, older, word in ((again, second, "arrow"), (main_again, main, "bottle")):
            await kinds[newer.stream_sid].start(newer)
            await newer.say(tones("[100]"))
            await older.stop()
            assert await older.closed() == (1000, "the call continues on another stream")
            await newer.say(tones(f"[300] {word} [1200]"))
            await served.transcripts.wait_for(newer.stream_sid, "utterance_end")
        numbers = served.server.snapshot()
        for phone in (main_again, again):
            await phone.stop()
            await served.transcripts.wait_for(phone.stream_sid, "call_ended")
    assert (numbers["calls_started"], numbers["calls_moved"], numbers["calls_live"]) == (2, 2, 2)
    assert numbers["calls_refused"] == {}
    assert [served.transcripts.milestones(sid).count("call_started") for sid in kinds] == [1, 1, 0, 0]
    assert [served.transcripts.utterances(sid) for sid in kinds] == [["apple"], ["apple"], ["bottle"], ["arrow"]]
    # So that a reader of both knows which of the two goes on.
    for older, newer in ((main, main_again), (second, again)):
        (moved,) = served.transcripts.of(newer.stream_sid, "call_moved")
        assert moved["previous_stream_sid"] == older.stream_sid
        assert served.transcripts.of(newer.stream_sid)[0] == moved


@others
async def test_a_second_stream_of_the_same_kind_is_refused_while_the_first_goes_on(
    other: Kind, prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comeback, "HOLD_S", 0.3)
    async with serving(prompt_emulator) as served, phones(served.url, "MZ1", "MZ2", "MZ3") as (main, first, thief):
        for phone, kind in ((main, MAIN), (first, other)):
            await kind.start(phone)
            await phone.say(tones("[200] apple"))
            await served.transcripts.wait_for(phone.stream_sid, "session_started")
        await other.start(thief)
        code, reason = await thief.closed()
        assert (code, (reason or "")[:30]) == (1008, "this call already has a socket")
        for phone in (main, first):
            await phone.say(tones("arrow [1200]"))
            await phone.stop()
            await served.transcripts.wait_for(phone.stream_sid, "call_ended")
    assert [served.transcripts.utterances(sid) for sid in ("MZ1", "MZ2", "MZ3")] == [["apple arrow"]] * 2 + [[]]


async def test_a_second_stream_takes_a_place_or_is_refused_and_leaves_the_first(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, options={"max_calls": 2}) as served:
        sids = ("MZ1", "MZ2", "MZ3")
        async with phones(served.url, *sids) as (main, second, third):
            for phone, kind in ((main, MAIN), (second, MONITOR)):
                await kind.start(phone)
                await served.transcripts.wait_for(phone.stream_sid, "session_started")
            await TWO_TRACKS.start(third)
            assert (await third.closed())[0] == 1013
            await main.say(tones("[300] apple [1200]"))
            await main.stop()
            await served.transcripts.wait_for("MZ1", "call_ended")
    assert served.transcripts.utterances("MZ1") == ["apple"]


async def test_each_stream_needs_a_token_of_its_own(prompt_emulator: str) -> None:
    async with (
        serving(prompt_emulator, stream_secret=SECRET) as served,
        phones(served.url, "MZ1", "MZ2", "MZ3") as (main, thief, monitor),
    ):
        tokens = [mint_token(SECRET, main.call_sid, now=time.time(), nonce=each * 32) for each in "01"]
        await MAIN.start(main, **{PARAMETER: tokens[0]})
        await served.transcripts.wait_for("MZ1", "session_started")
        await MONITOR.start(thief, **{PARAMETER: tokens[0]})
        code, reason = await thief.closed()
        assert code == 1008
        assert "token_used" in (reason or "")
        await MONITOR.start(monitor, **{PARAMETER: tokens[1]})
        await served.transcripts.wait_for("MZ3", "session_started")
        assert served.server.snapshot()["calls_live"] == 2


async def test_each_stream_has_a_handler_that_speaks_on_it(prompt_emulator: str) -> None:
    async with (
        serving(prompt_emulator, handler="talkers:speak_then_tell") as served,
        phones(served.url, "MZ1", "MZ2") as both,
    ):
        for phone, kind in zip(both, (MAIN, MONITOR), strict=True):
            await kind.start(phone)
        for phone in both:
            async with asyncio.timeout(PATIENCE_S):
                while (message := json.loads(await phone.socket.recv()))["event"] != "media":
                    pass
            assert message["streamSid"] == phone.stream_sid
        assert served.server.snapshot()["calls_started"] == 2


# --- who reads both ---------------------------------------------------------------------------------------------------


async def test_the_log_says_which_stream_of_the_call_it_is(
    prompt_emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fastcall")
    kinds = {"MZ1": MAIN, "MZ2": MONITOR, "MZ3": TWO_TRACKS}
    async with serving(prompt_emulator) as served, phones(served.url, *kinds) as all_three:
        for phone in all_three:
            await kinds[phone.stream_sid].start(phone)
            await served.transcripts.wait_for(phone.stream_sid, "session_started")
        call_sid = all_three[0].call_sid
    started = [line for line in caplog.messages if "session started" in line]
    assert started == [
        f"[STT] Streaming session started call={call_sid}",
        f"[STT] Streaming session started call={call_sid} stream=monitor",
        f"[STT] Streaming session started call={call_sid} tracks=inbound,outbound",
    ]


async def test_a_call_started_says_which_stream_of_the_call_it_is(prompt_emulator: str) -> None:
    kinds = {"MZ1": MAIN, "MZ2": MONITOR, "MZ3": TWO_TRACKS}
    async with serving(prompt_emulator) as served, phones(served.url, *kinds) as all_three:
        for phone in all_three:
            await kinds[phone.stream_sid].start(phone)
            await served.transcripts.wait_for(phone.stream_sid, "call_started")
    found = [served.transcripts.of(sid, "call_started")[0] for sid in kinds]
    assert [(record["stream"], record["tracks"]) for record in found] == [
        ("", ["inbound"]),
        ("monitor", ["inbound"]),
        ("", ["inbound", "outbound"]),
    ]


async def test_who_watches_a_call_can_tell_the_batches_of_its_streams_apart(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, phones(served.url, "MZ1", "MZ2") as both:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"GET /console/batches?call={both[0].call_sid} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        ends = {}
        for phone, kind in zip(both, (MAIN, MONITOR), strict=True):
            await kind.start(phone)
            await phone.say(tones("[300] apple [300]"))
        while set(ends) != {"MZ1", "MZ2"} or min(ends.values()) < 600:
            record = await next_record(reader)
            assert record is not None
            ends[record["stream_sid"]] = record["end_ms"]
        live = json.loads((await ask(served.port, "/console/calls")).body)["live"]
        writer.close()
    call_sid = both[0].call_sid
    assert live == [
        {"call_sid": call_sid, "stream_sid": "MZ1", "stream": "", "tracks": ["inbound"]},
        {"call_sid": call_sid, "stream_sid": "MZ2", "stream": "monitor", "tracks": ["inbound"]},
    ]


# --- with workers -----------------------------------------------------------------------------------------------------


async def test_with_workers_each_stream_has_a_place_wherever_it_is(prompt_emulator: str) -> None:
    async with (
        serving_workers(prompt_emulator) as it,
        reading(it.port) as reader,
        phones(it.url, "MZ1") as (main,),
        phones(it.url, "MZ2") as (monitor,),
    ):
        records = Records(reader)
        await MAIN.start(main)
        await records.wait_for("MZ1", "session_started")
        await MONITOR.start(monitor)
        await records.wait_for("MZ2", "session_started")
        assert await it.number("fastcall_calls_live", 2) == 2
        await main.say(tones("[300] apple [1200]"))
        await monitor.say(tones("[300] arrow [1200]"))
        await records.wait_for("MZ1", "utterance_end")
        await records.wait_for("MZ2", "utterance_end")
        # A third stream, at the worker that has the first, comes back for the second.
        async with phones(it.url, "MZ3") as (again,):
            await MONITOR.start(again)
            await (await again.socket.ping())  # its start has been read by whoever has it now
            await again.say(tones("[100]"))
            await monitor.stop()
            assert (await records.wait_for("MZ3", "call_moved"))["previous_stream_sid"] == "MZ2"
            await again.say(tones("[300] bottle [1200]"))
            await records.wait_for("MZ3", "utterance_end")
            await again.stop()
            await records.wait_for("MZ3", "call_ended")
        await main.say(tones("[300] autumn [1200]"))
        await main.stop()
        await records.wait_for("MZ1", "call_ended")
        numbers = await it.numbers()
    assert (records.texts("MZ1"), records.texts("MZ2"), records.texts("MZ3")) == (
        ["apple", "autumn"],
        ["arrow"],
        ["bottle"],
    )
    assert [name for name in numbers if name.startswith("fastcall_calls_refused_total") and numbers[name]] == []


async def test_with_workers_a_thief_of_one_stream_is_revoked_and_both_go_on(prompt_emulator: str) -> None:
    async with (
        serving_workers(prompt_emulator) as it,
        reading(it.port) as reader,
        phones(it.url, "MZ1") as (main,),
        phones(it.url, "MZ2") as (monitor,),
    ):
        records = Records(reader)
        for phone, kind in ((main, MAIN), (monitor, MONITOR)):
            await kind.start(phone)
            await records.wait_for(phone.stream_sid, "session_started")
        for kind in (MAIN, MONITOR):
            async with phones(it.url, f"MZ{kind.parameters}") as (thief,):
                await kind.start(thief)
                async with on_the_line(main, monitor):
                    code, reason = await thief.closed()
            assert (code, (reason or "")[:30]) == (1008, "this call already has a socket")
        for phone in (main, monitor):
            await phone.say(tones("[300] apple [1200]"))
            await records.wait_for(phone.stream_sid, "utterance_end")
        assert (await it.numbers())["fastcall_calls_live"] == 2


async def test_a_worker_that_is_killed_takes_one_stream_of_a_call_and_not_the_other(prompt_emulator: str) -> None:
    async with (
        serving_workers(prompt_emulator) as it,
        reading(it.port) as reader,
        phones(it.url, "MZ1") as (main,),
        phones(it.url, "MZ2") as (monitor,),
    ):
        records = Records(reader)
        for phone, kind in ((main, MAIN), (monitor, MONITOR)):
            await kind.start(phone)
            await records.wait_for(phone.stream_sid, "session_started")
        os.kill(it.pids[2], signal.SIGKILL)
        ended = await records.wait_for("MZ2", "call_ended")
        assert ended["text"] == "the worker process of the call crashed"
        await asyncio.to_thread(it.process.wait_for, rf"1 calls lost: {main.call_sid} stream=monitor \(")
        await main.say(tones("[300] apple [1200]"))
        await records.wait_for("MZ1", "utterance_end")
        assert (await it.numbers())["fastcall_calls_live"] == 1
