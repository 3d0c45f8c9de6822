"""What a provider may tell of one and the same speech, over real gRPC, and the text that comes of it."""

from __future__ import annotations

import pytest

from peers import Phone, both_uplinks, serving, tones
from scripted_speech import Script, result, scripted_speech

# Speech at 0.3 to 0.7 s, and at 1.8 to 2.2 s.
TWO = "[300] apple arrow [1100] autumn badge [1000]"


async def utterances(script: Script, audio: str = TWO) -> list[str]:
    """The utterances of a call with ``audio``, to which the recogniser tells ``script``."""
    with scripted_speech(script) as address:
        async with serving(address) as served, Phone(served.url, "texts") as phone:
            await phone.start()
            await phone.say(tones(audio))
            await served.transcripts.wait_for(phone.call_sid, "utterance_end", 2)
            await phone.stop()
            await served.transcripts.wait_for(phone.call_sid, "call_ended")
        return served.transcripts.utterances(phone.call_sid)


@both_uplinks
@pytest.mark.parametrize(
    ("text", "words", "texts"),
    [
        (
            "你好，今天天气很好。",
            [("你好", 0.3, 0.7), ("今天", 1.8, 1.9), ("天气", 1.9, 2.0), ("很好", 2.0, 2.2)],
            ["你好，", "今天天气很好。"],
        ),
        (
            "今日はいい天気です",
            [
                ("今日|キョウ", 0.3, 0.5),
                ("は|ハ", 0.5, 0.7),
                ("いい", 1.8, 1.9),
                ("天気|テンキ", 1.9, 2.1),
                ("です", 2.1, 2.2),
            ],
            ["今日は", "いい天気です"],
        ),
    ],
)
async def test_a_text_without_spaces_comes_out_as_it_was_told_cut_between_utterances(
    text: str, words: list[tuple[str, float, float]], texts: list[str]
) -> None:
    assert await utterances([(2.9, [result(text, final=True, end_s=2.6, words=words)])]) == texts
