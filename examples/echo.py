"""An agent that says back what it has heard: the words that were recognized go to the log, the voice to the caller.

    fastcall serve --handler echo:agent          (in this folder, or with PYTHONPATH=examples)

Press 1 to hear the last again, # to end.
"""

from __future__ import annotations

import asyncio
import logging

from fastcall import Call

log = logging.getLogger("echo")


async def agent(call: Call) -> None:
    """The handler of one call."""
    call.keep_audio(60)
    keys = asyncio.create_task(obey_keys(call))
    try:
        async for utterance in call.utterances():
            log.info("heard %r", utterance.text)
            call.state["last"] = call.audio(utterance.start_ms, utterance.end_ms)
            heard = await call.say(call.state["last"], encoding="pcm", text=utterance.text)
            log.info("said %r%s", heard.text, "" if heard.is_whole else ", and was interrupted")
    finally:
        keys.cancel()


async def obey_keys(call: Call) -> None:
    """1: again; #: hang up."""
    async for key in call.keys():
        if key == "1" and "last" in call.state:
            call.say(call.state["last"], encoding="pcm")
        elif key == "#":
            call.hangup()
