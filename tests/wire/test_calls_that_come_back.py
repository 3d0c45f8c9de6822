"""A call that comes back by another stream: held while the older one may end, and never allowed to push it out."""

from __future__ import annotations

import pytest

from fastcall.drivers import runner
from fastcall.rules.caller import CallerMessages, CallIds
from peers import Phone, serving, tones

both_lanes = pytest.mark.usefixtures("hot_lane")


@both_lanes
@pytest.mark.parametrize("how", ["stop", "close"])
async def test_a_newer_stream_begins_when_the_older_one_ends_and_loses_nothing(how: str, prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "back") as old, Phone(served.url, "back") as new:
        await old.start()
        await old.say(tones("[200] apple [700]"))
        await served.transcripts.wait_for(old.call_sid, "utterance_end")
        new.messages = CallerMessages(CallIds(old.call_sid, "MZnew"))
        await new.start()
        await new.say(tones("[200] arrow autumn [700]"))
        if how == "stop":
            await old.stop()
        else:
            await old.socket.close()
        await served.transcripts.wait_for(old.call_sid, "utterance_end", 2)
        await new.stop()
        await served.transcripts.wait_for(old.call_sid, "call_ended", 2)
        assert served.server.snapshot()["calls_refused"] == {}
    ends = served.transcripts.of(old.call_sid, "utterance_end")
    assert [record["text"] for record in ends] == ["apple", "arrow autumn"]


@both_lanes
async def test_a_newer_stream_is_refused_when_the_older_one_goes_on(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "HOLD_S", 0.3)
    async with serving(prompt_emulator) as served, Phone(served.url, "two") as old, Phone(served.url, "two") as new:
        await old.start()
        await old.say(tones("[200] apple"))
        await served.transcripts.wait_for(old.call_sid, "session_started")
        new.messages = CallerMessages(CallIds(old.call_sid, "MZnew"))
        await new.start()
        await new.say(tones("[200] bottle"))
        code, reason = await new.closed()
        assert code == 1008
        assert reason is not None
        assert reason.startswith("this call has a socket already")
        await old.say(tones("arrow [700]"))
        await old.stop()
        await served.transcripts.wait_for(old.call_sid, "call_ended")
    assert served.transcripts.utterances(old.call_sid) == ["apple arrow"]
