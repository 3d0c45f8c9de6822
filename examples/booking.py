"""A clerk who books tables, by rules. The voice is espeak-ng if it is installed, else the bundled one.

    PYTHONPATH=examples fastcall serve --handler booking:agent

What is understood and asked is in `fastcall.demo.booking`, 100 lines without clock or socket; copy it and change it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcall import Call, Speech
from fastcall.demo import attend, join, load_prompts, say_prepared
from voices import EspeakVoice

VOICE = EspeakVoice()


def say(call: Call, names: Sequence[str]) -> Speech:
    """Says the prompts of these names."""
    if not EspeakVoice.is_installed():
        return say_prepared(call, names)
    text = join(load_prompts(), names).text
    return call.say(VOICE.speak(text), text=text, encoding="pcm", rate_hz=VOICE.rate_hz)


async def agent(call: Call) -> None:
    """The handler of one call."""
    await attend(call, say)
