"""What is known of one speech: where its words begin, and what was heard of it."""

from __future__ import annotations

from fastcall.agent.heard_text import Heard
from fastcall.agent.outbound import OutboundAudio
from fastcall.agent.speech import Speech
from sim.clock import in_virtual_time


def speech_of(samples: int, text: str, word_ends: tuple[int, ...] | None = None) -> Speech:
    audio = OutboundAudio()
    audio.feed(bytes(samples))
    audio.end()
    return Speech(audio, text, word_ends)


@in_virtual_time
async def test_its_words_begin_where_its_voice_says_or_their_letters() -> None:
    assert speech_of(8000, "one two", (1000, 8000)).word_start(7999) == 1000
    assert speech_of(8000, "one two").word_start(7999) == 4000
    assert speech_of(8000, "").word_start(7999) == 7999


@in_virtual_time
async def test_of_audio_that_broke_off_words_go_at_the_pace_of_speech() -> None:
    speech = speech_of(8000, "a sentence that broke off")
    speech.is_broken = True
    assert speech.word_start(7000) == 11 * 8000 // 15
    assert speech.describe(8000) == Heard("a sentence that", 1000, False)


@in_virtual_time
async def test_it_ends_once() -> None:
    speech = speech_of(8000, "one two", (4000, 8000))
    assert not speech.is_done
    assert speech.finish(5000) == speech.finish(8000) == Heard("one", 625, False)
    assert speech.is_done
    assert await speech == Heard("one", 625, False)
