"""fastcall with a handler that never stops talking, for `density.py`: `python benchmarks/talking_server.py OPTIONS`.

The options are those of `fastcall serve`. A minute and more of mu-law is played to each call again and again, without
a pause, and callers do not interrupt it.
"""

from __future__ import annotations

import os
import sys
from importlib import resources

from fastcall.agent.call import Call
from fastcall.audio.wav import read_wav
from fastcall.cli.main import main

ANSWER = read_wav((resources.files("fastcall") / "data" / "booking.wav").read_bytes())


async def talk(call: Call) -> None:
    """Say the same for as long as it is heard; the next is queued before the last was played."""
    speech = call.say(ANSWER)
    is_heard = True
    while is_heard:
        following = call.say(ANSWER)
        is_heard = (await speech).is_whole
        speech = following


if __name__ == "__main__":
    os.environ["BARGE_IN"] = "false"
    sys.exit(main(["serve", *sys.argv[1:], "--handler", "talking_server:talk"]))
