"""Handlers of calls, for tests of what handlers may do."""

from __future__ import annotations

import asyncio

from fastcall.drivers.call import Call

ended_calls: list[str] = []


async def talk_without_end(call: Call) -> None:
    """Queue more audio than a peer that does not read can be sent."""
    while True:
        call.say(b"\x00" * 16_000)
        await asyncio.sleep(0.001)


async def fail(call: Call) -> None:
    """Raise, as a handler with a defect does."""
    raise RuntimeError(f"no answer for {call.call_sid}")


async def echo_texts(call: Call) -> None:
    """A mark for each utterance, named after its text."""
    async for utterance in call.utterances():
        call.mark(utterance.text)


async def hang_up(call: Call) -> None:
    """End the call after its first utterance."""
    async for _ in call.utterances():
        call.hangup()
        return


async def hang(call: Call) -> None:
    """Never return; ``ended_calls`` tells when it was made to."""
    try:
        await asyncio.Event().wait()
    finally:
        ended_calls.append(call.call_sid)


def not_a_coroutine(call: Call) -> None:
    """What ``--handler`` refuses."""


async def answer_each(call: Call) -> None:
    """Answers each utterance with a moment of audio."""
    async for _ in call.utterances():
        call.say(b"\xff" * 160)
