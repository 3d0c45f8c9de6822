"""A handler that answers with a tone, for who listens to what a browser plays."""

from __future__ import annotations

from array import array
from math import pi, sin

from fastcall._codec import mulaw_encode
from fastcall.agent.call import Call

TONE_HZ = 1000
TONE_MS = 250


def tone(ms: int) -> bytes:
    """1 kHz at a quarter of full scale, as mu-law at 8 kHz."""
    pcm = array("h", (round(8000 * sin(2 * pi * TONE_HZ * n / 8000)) for n in range(8 * ms)))
    return bytes(mulaw_encode(pcm.tobytes()))


async def answer_once(call: Call) -> None:
    """Answers the first utterance that has words, with the tone and a mark."""
    async for utterance in call.utterances():
        if utterance.text:
            call.say(tone(TONE_MS))
            call.mark("said")
            return
