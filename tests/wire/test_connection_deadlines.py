"""Connections that say nothing, that never close, that go on for too long: each is closed, told and counted."""

from __future__ import annotations

import asyncio
import logging

import pytest
from websockets.exceptions import InvalidStatus

from fastcall.server import watchdog
from peers import Phone, both_paths, serving, tones


@both_paths
async def test_a_live_call_that_says_nothing_is_closed_and_told(
    prompt_emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(prompt_emulator, call_silent_max_s=0.3) as served, Phone(served.url, "silent") as phone:
        await phone.start()
        await phone.say(tones("[40] apple [300]"))
        code, reason = await phone.closed()
        ended = await served.transcripts.wait_for(phone.call_sid, "call_ended")
        assert served.server.snapshot()["expired_connections"] == {"silent": 1}
    assert (code, reason) == (1008, "no message for 0.3 s (CALL_SILENT_MAX_S)")
    assert ended["text"] == reason
    assert served.transcripts.utterances(phone.call_sid) == ["apple"]
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        f"closing the socket: {reason} (code 1008) call={phone.call_sid}"
    ]


async def test_a_call_that_says_nothing_gives_its_place_to_the_next(prompt_emulator: str) -> None:
    async with (
        serving(prompt_emulator, call_silent_max_s=0.5, options={"max_calls": 1}) as served,
        Phone(served.url, "silent") as silent,
    ):
        await silent.start()
        speaking = asyncio.create_task(silent.speak(tones("[60000]")))
        await served.transcripts.wait_for(silent.call_sid, "session_started")
        with pytest.raises(InvalidStatus, match="HTTP 503"):
            async with Phone(served.url, "early"):
                raise AssertionError("two calls where there is one place")
        speaking.cancel()
        assert (await silent.closed())[0] == 1008
        await served.transcripts.wait_for(silent.call_sid, "call_ended")
        async with Phone(served.url, "next") as phone:
            assert await served.take_call(phone, "[200] apple [300]") == ["apple"]


@both_paths
async def test_a_call_that_is_only_quiet_is_not_closed(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, call_silent_max_s=0.3) as served, Phone(served.url, "quiet") as phone:
        await served.take_call(phone, "[900]", at_pace=True)
        assert served.server.snapshot()["expired_connections"] == {}


async def test_a_call_may_be_so_long(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, call_max_s=0.4) as served, Phone(served.url, "long") as phone:
        await phone.start()
        speaking = asyncio.create_task(phone.speak(tones("[9000]")))
        code, reason = await phone.closed()
        await asyncio.wait((speaking,))
        assert speaking.exception() is not None
        assert (code, reason) == (1000, "the call reached the limit of 0.4 s (CALL_MAX_S)")
        await served.transcripts.wait_for(phone.call_sid, "call_ended")


async def test_a_peer_that_does_not_close_after_stop_is_closed(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "STOPPED_S", 0.2)
    async with serving(prompt_emulator) as served, Phone(served.url, "stays") as phone:
        await phone.start()
        await served.hang_up(phone)
        assert (await phone.closed())[0] == 1000
        assert served.server.snapshot()["expired_connections"] == {"stop": 1}
    (ended,) = served.transcripts.of(phone.call_sid, "call_ended")
    assert ended["text"] is None


async def test_a_drain_does_not_wait_for_a_call_that_is_dead(prompt_emulator: str) -> None:
    async with (
        serving(prompt_emulator, call_silent_max_s=0.3, options={"drain_timeout_s": 3600}) as served,
        Phone(served.url, "dead") as phone,
    ):
        await phone.start()
        await served.transcripts.wait_for(phone.call_sid, "session_started")
        async with asyncio.timeout(30):
            await served.server.drain()
        assert served.server.live_calls == 0
