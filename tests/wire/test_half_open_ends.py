"""Calls that end badly: the last words still come, within the time that closing may take."""

from __future__ import annotations

import asyncio
import signal

from peers import Phone, Served, both_uplinks, serving, start_emulator, tones

# What closing may take, and a busy machine besides.
CLOSE_S = 5.0
SLACK_S = 3.0


async def ended(served: Served, phone: Phone) -> float:
    """Wait for the call's end; how long that took, in seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await served.transcripts.wait_for(phone.call_sid, "call_ended")
    return loop.time() - began


def drop(phone: Phone) -> None:
    """As a network does it: no `stop`, no closing handshake."""
    phone.socket.transport.abort()


async def test_a_caller_who_is_gone_in_mid_word(emulator: str) -> None:
    """Half a word after the last whole one; the recogniser's finals are 0.9 s late."""
    audio = tones("[300] apple arrow autumn badge")
    async with serving(emulator) as served, Phone(served.url, "mid-word") as phone:
        await phone.start()
        await phone.speak(audio[: len(audio) - 1200])
        await (await phone.socket.ping())  # all that was sent has arrived
        drop(phone)
        assert await ended(served, phone) < CLOSE_S + SLACK_S
        assert served.transcripts.utterances(phone.call_sid) == ["apple arrow autumn"]


@both_uplinks
async def test_a_call_that_ends_while_the_recogniser_is_away_and_comes_back_in_time() -> None:
    first = await asyncio.to_thread(start_emulator, "--final-delay-s", "0")
    port = int(first.ready[1].rpartition(":")[2])
    async with serving(first.ready[1]) as served, Phone(served.url, "reconnect") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple arrow [900]"))
        await served.transcripts.wait_for(phone.call_sid, "final")
        first.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.stop)
        await phone.speak(tones("autumn badge bamboo [200]"))
        await served.transcripts.wait_for(phone.call_sid, "session_failed")
        await phone.stop()
        second = await asyncio.to_thread(start_emulator, "--final-delay-s", "0", port=port)
        try:
            assert await ended(served, phone) < CLOSE_S + SLACK_S
        finally:
            await asyncio.to_thread(second.stop)
        assert " ".join(served.transcripts.utterances(phone.call_sid)) == "apple arrow autumn badge bamboo"


async def test_a_call_that_ends_while_the_recogniser_is_away_for_good() -> None:
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "5")
    async with serving(emulator.ready[1]) as served, Phone(served.url, "away") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple arrow [300]"))
        await served.transcripts.wait_for(phone.call_sid, "partial", 2)
        emulator.send_signal(signal.SIGKILL)
        await asyncio.to_thread(emulator.stop)
        await served.transcripts.wait_for(phone.call_sid, "session_failed")
        await phone.stop()
        assert await ended(served, phone) < CLOSE_S + SLACK_S
        # No final came: what was heard as an interim counts.
        assert served.transcripts.utterances(phone.call_sid) == ["apple arrow"]


async def test_a_server_that_stops_while_the_recogniser_is_away() -> None:
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "5")
    async with serving(emulator.ready[1]) as served, Phone(served.url, "stopping") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple arrow [300]"))
        await served.transcripts.wait_for(phone.call_sid, "partial", 2)
        emulator.send_signal(signal.SIGKILL)
        await asyncio.to_thread(emulator.stop)
        await served.transcripts.wait_for(phone.call_sid, "session_failed")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await served.server.stop()
        assert loop.time() - began < CLOSE_S + SLACK_S
        assert served.server.live_calls == 0
        assert served.transcripts.utterances(phone.call_sid) == ["apple arrow"]
