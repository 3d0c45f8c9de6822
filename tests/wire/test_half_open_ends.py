"""Calls that end badly: the last words still come, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import signal

from peers import PATIENCE_S, Phone, Served, both_uplinks, serving, start_emulator, tones


async def ended(served: Served, phone: Phone) -> None:
    """Wait for the call's end."""
    await served.transcripts.wait_for(phone.call_sid, "call_ended")


def drop(phone: Phone) -> None:
    """As a network does it: no `stop`, no closing handshake."""
    phone.socket.transport.abort()


async def test_a_caller_who_is_gone_in_mid_word(emulator: str) -> None:
    """Half a word after the last whole one; the recognizer's finals are 0.9 s late."""
    audio = tones("[300] apple arrow autumn badge")
    async with serving(emulator) as served, Phone(served.url, "mid-word") as phone:
        await phone.start()
        await phone.speak(audio[: len(audio) - 1200])
        await (await phone.socket.ping())  # all that was sent has arrived
        drop(phone)
        await ended(served, phone)
        assert served.transcripts.utterances(phone.call_sid) == ["apple arrow autumn"]


@both_uplinks
async def test_a_call_that_ends_while_the_recognizer_is_away_and_comes_back_in_time() -> None:
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
            await ended(served, phone)
        finally:
            await asyncio.to_thread(second.stop)
        assert " ".join(served.transcripts.utterances(phone.call_sid)) == "apple arrow autumn badge bamboo"


async def test_a_call_that_ends_while_the_recognizer_is_away_for_good() -> None:
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "5")
    async with serving(emulator.ready[1]) as served, Phone(served.url, "away") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple arrow [300]"))
        await served.transcripts.wait_for(phone.call_sid, "partial", 2)
        emulator.send_signal(signal.SIGKILL)
        await asyncio.to_thread(emulator.stop)
        await served.transcripts.wait_for(phone.call_sid, "session_failed")
        await phone.stop()
        await ended(served, phone)
        # No final came: what was heard as an interim counts.
        assert served.transcripts.utterances(phone.call_sid) == ["apple arrow"]


async def test_a_server_that_stops_while_the_recognizer_is_away() -> None:
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "5")
    async with serving(emulator.ready[1]) as served, Phone(served.url, "stopping") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple arrow [300]"))
        await served.transcripts.wait_for(phone.call_sid, "partial", 2)
        emulator.send_signal(signal.SIGKILL)
        await asyncio.to_thread(emulator.stop)
        await served.transcripts.wait_for(phone.call_sid, "session_failed")
        async with asyncio.timeout(PATIENCE_S):
            await served.server.stop()
        assert served.server.live_calls == 0
        assert served.transcripts.utterances(phone.call_sid) == ["apple arrow"]
