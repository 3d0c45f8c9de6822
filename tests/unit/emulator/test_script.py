"""The script engine: what a script may say, and when it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcall.emulator.engines.base import (
    EngineEvent,
    Finished,
    Heard,
    SpeechBegan,
    SpeechEnded,
    UtteranceEnded,
)
from fastcall.emulator.engines.script import ScriptEngine, parse_script
from fastcall.emulator.messages import StreamConfig, Word

SCRIPT = [
    {"at_s": 1.0, "text": "book a table", "word_ms": 200},
    {"words": [["for", 3.0, 3.2], ["two", 3.5, 4.0]]},
]


def told(script: Any, *feeds_ms: int, end: bool = True) -> list[EngineEvent]:
    events: list[EngineEvent] = []
    engine = ScriptEngine(parse_script(script), end_silence_s=0.5)
    engine_stream = engine.open(StreamConfig("LINEAR16", 8000), events.append)
    for feed_ms in feeds_ms:
        engine_stream.feed(np.zeros(feed_ms * 8, dtype=np.int16))
    if end:
        engine_stream.finish()
    return events


def test_words_are_told_when_the_audio_reaches_their_end() -> None:
    book, a, table = (Word(text, 1.0 + 0.2 * i, 1.0 + 0.2 * (i + 1)) for i, text in enumerate(["book", "a", "table"]))
    assert told(SCRIPT, 900, end=False) == []
    assert told(SCRIPT, 1100, end=False) == [SpeechBegan(1.0)]
    events = told(SCRIPT, *[100] * 30, end=False)
    assert events[:6] == [
        SpeechBegan(1.0),
        Heard((book,)),
        Heard((book, a)),
        Heard((book, a, table)),
        SpeechEnded(table.end_s),
        UtteranceEnded((book, a, table), table.end_s, table.end_s + 0.5),
    ]


def test_one_large_piece_tells_all_in_order() -> None:
    events = told(SCRIPT, 6000)
    assert [type(event) for event in events] == [*[SpeechBegan, Heard, SpeechEnded, UtteranceEnded] * 2, Finished]


def test_the_end_of_the_audio_ends_the_utterance_with_what_was_said() -> None:
    events = told(SCRIPT, 1300)
    ended = [event for event in events if isinstance(event, UtteranceEnded)]
    assert [word.text for word in ended[0].words] == ["book"]
    assert ended[0].end_s == 1.3
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([], "a script is a list of 1 to"),
        ("text", "a script is a list of 1 to"),
        (["text"], "utterance 1: must be a mapping"),
        ([{"text": "x"}], "utterance 1: use 'at_s', 'text' and 'word_ms', or only 'words'"),
        ([{"at_s": -1, "text": "x"}], "utterance 1: -1 is not a time"),
        ([{"at_s": True, "text": "x"}], "utterance 1: True is not a time"),
        ([{"at_s": 0, "text": "  "}], "utterance 1: text must contain words"),
        ([{"words": []}], "utterance 1: words must be a list"),
        ([{"words": [["a", 0]]}], "a word is"),
        ([{"at_s": 0, "text": "a b c"}, {"at_s": 0.5, "text": "d"}], "utterance 2: 'd' begins before"),
        ([{"words": [["a", 2.0, 1.0]]}], "utterance 1: 'a' begins before"),
    ],
)
def test_wrong_scripts_are_refused_with_the_place(script: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_script(script)
    assert message in str(caught.value)
