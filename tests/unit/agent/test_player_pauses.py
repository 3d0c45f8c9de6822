"""Interruptions that are taken back: pause and resume, hold and release, supersede, and what is uninterruptible."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastcall._codec import alaw_encode, mulaw_decode
from fastcall.agent.heard_text import Heard
from fastcall.agent.outbound import OutboundAudio
from fastcall.agent.player import AudioPlayer, Speech
from fastcall.events import AudioFormat
from handsets import Phone, Twilio
from peers import turns
from sim.clock import VirtualLoop, elapse, in_virtual_time


def noise(samples: int, seed: int = 0) -> bytes:
    """No two places in it are alike; it does not begin as a file does."""
    return b"\x55\x55" + random.Random(seed).randbytes(samples - 2)


def speech_of(mulaw: bytes, text: str = "", word_ends: tuple[int, ...] | None = None, **options: Any) -> Speech:
    audio = OutboundAudio()
    audio.feed(mulaw)
    audio.end()
    return Speech(audio, text, word_ends, **options)


def call_with(phone: Phone, audio_format: AudioFormat | None = None) -> tuple[AudioPlayer, Phone]:
    phone.player = AudioPlayer(phone, "MZ1", phone, audio_format)
    return phone.player, phone


async def listen(seconds: float) -> None:
    """So long, and an instant, for which no sample is in question when times are rounded."""
    await elapse(seconds + 1e-5)


TEXT, ENDS = "one two three four", (4000, 8000, 12_000, 16_000)


@in_virtual_time
async def test_a_speech_that_is_paused_goes_on_from_the_word_that_was_cut() -> None:
    player, phone = call_with(Phone())
    said = noise(16_000)
    speech = speech_of(said, TEXT, ENDS)
    player.say(speech)
    await listen(0.85)
    assert player.pause() == Heard("one two", 850, False)
    assert player.is_paused
    assert player.is_speaking
    assert phone.events[-1] == "clear"
    sent = len(phone.sent)
    await listen(60)
    assert len(phone.sent) == sent
    assert not speech.is_done
    assert player.heard() == Heard("one two", 850, False)
    player.resume()
    assert not player.is_paused
    # While a part is repeated, what was heard stays what it was.
    await listen(0.2)
    assert player.heard() == Heard("one two", 850, False)
    await listen(0.3)
    assert player.heard().ms == 1000
    assert await speech == Heard(TEXT, 2000, True)
    assert phone.heard == [said[:6800], said[4000:]]
    assert phone.told == [
        ("began", 1),
        ("paused", Heard("one two", 850, False)),
        ("resumed", 1),
        ("ended", Heard(TEXT, 2000, True)),
    ]


@in_virtual_time
async def test_without_times_words_begin_where_their_letters_say_and_without_text_nothing_is_repeated() -> None:
    for text, again in (("one something", 4000), ("", 6800)):
        player, phone = call_with(Phone())
        said = noise(14_000)
        player.say(speech_of(said, text))
        await listen(0.85)
        player.pause()
        await listen(1.0)
        player.resume()
        await listen(3.0)
        assert phone.heard == [said[:6800], said[again:]]


@in_virtual_time
async def test_a_pause_before_anything_was_heard_and_several_pauses() -> None:
    player, phone = call_with(Phone())
    said = noise(16_000)
    speech = speech_of(said, TEXT, ENDS)
    player.say(speech)
    assert player.pause() == player.pause() == Heard("", 0, False)
    assert phone.events.count("clear") == 1
    player.resume()
    player.resume()
    await listen(0.6)
    player.pause()
    player.resume()
    await listen(0.05)
    # In the part that is repeated: from the beginning of the same word.
    assert player.pause() == Heard("one", 600, False)
    player.resume()
    assert await speech == Heard(TEXT, 2000, True)
    assert phone.heard == [b"", said[:4800], said[4000:4400], said[4000:]]
    assert phone.told_of("began", "ended") == [("began", 1), ("ended", Heard(TEXT, 2000, True))]


@in_virtual_time
async def test_without_a_pause_there_is_nothing_to_resume_and_silence_may_be_paused() -> None:
    player, phone = call_with(Phone())
    player.resume()
    assert phone.sent == []
    assert player.pause() == Heard("", 0, True)
    said = noise(800)
    speech = speech_of(said)
    player.say(speech)
    assert phone.audio == b""
    player.resume()
    assert (await speech).is_whole
    assert phone.told_of("paused", "resumed") == []


@in_virtual_time
async def test_a_speech_that_was_sent_in_part_is_paused_once_and_ends_once() -> None:
    player, phone = call_with(Phone())
    said = noise(40_000)
    speech, other = speech_of(said), speech_of(noise(800))
    player.say(speech)
    player.say(other)
    await listen(0.5)
    player.pause()
    await listen(0.1)
    # Nobody looks at the clock meanwhile.
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    assert loop.timers() == []
    player.resume()
    assert await other == Heard("", 100, True)
    assert b"".join(phone.heard) == said + noise(800)
    assert phone.told_of("ended") == [("ended", Heard("", 5000, True)), ("ended", Heard("", 100, True))]


@in_virtual_time
async def test_a_speech_that_had_its_time_when_another_is_paused_has_ended() -> None:
    twilio = Twilio()
    player = AudioPlayer(twilio, "MZ1", twilio)
    first, second = speech_of(noise(1600), "first"), speech_of(noise(8000), "second")
    player.say(first)
    player.say(second)
    await listen(0.3)
    assert player.pause() == Heard("first", 200, False)
    assert first.is_done
    assert twilio.told[2:] == [("ended", Heard("first", 200, True)), ("paused", Heard("", 0, False))]
    assert not second.is_done
    player.finish()


@in_virtual_time
async def test_marks_after_the_cut_pass_when_they_are_played_and_those_before_it_at_once() -> None:
    player, phone = call_with(Phone(delay_s=0.05))
    player.say(speech_of(noise(1600)))
    player.mark("before")
    player.say(speech_of(noise(4000)))
    player.mark("m")
    player.say(speech_of(noise(1600, 1)))
    player.mark("m")
    await listen(0.4)
    player.pause()
    await listen(3.0)
    assert phone.told_of("mark") == [("mark", "before")]
    assert player.mark("while paused") is None
    player.resume()
    assert phone.told_of("mark") == [("mark", "before")]
    await listen(3.0)
    assert [name for _, name in phone.told_of("mark")] == ["before", "m", "m", "while paused"]
    assert not player.is_speaking


@in_virtual_time
async def test_a_mark_whose_echo_is_on_its_way_at_the_pause_passes_once() -> None:
    player, phone = call_with(Phone(delay_s=0.05))
    player.mark("on its way")
    await listen(0.06)
    player.pause()
    assert phone.told == [("mark", "on its way")]
    await listen(1.0)
    player.resume()
    await listen(3.0)
    assert phone.told == [("mark", "on its way")]


@in_virtual_time
async def test_marks_of_a_paused_reply_pass_when_it_is_cleared() -> None:
    player, phone = call_with(Phone(delay_s=0.01))
    first, second = speech_of(noise(4000), "the first"), speech_of(noise(40_000), "the second")
    player.say(first)
    player.mark("sent")
    player.say(second)
    player.mark("not sent")
    await listen(0.1)
    heard = player.pause()
    await listen(1.0)
    now, confirmed = player.clear()
    assert not player.is_paused
    assert now == heard == await confirmed
    assert heard.ms > 0
    assert await first == heard
    assert await second == Heard("", 0, False)
    assert [name for _, name in phone.told_of("mark")] == ["sent", "not sent"]
    assert phone.told_of("overdue") == []
    # What is said next is played.
    after = speech_of(noise(800))
    player.say(after)
    assert (await after).is_whole


@in_virtual_time
async def test_what_is_said_during_a_pause_follows() -> None:
    player, phone = call_with(Phone())
    parts = [noise(20_000, 1), noise(4000, 2), noise(4000, 3)]
    speeches = [speech_of(part) for part in parts]
    player.say(speeches[0])
    player.say(speeches[1])
    await listen(0.5)
    player.pause()
    player.say(speeches[2])
    await listen(1.0)
    player.resume()
    assert [(await speech).ms for speech in speeches] == [2500, 500, 500]
    assert b"".join(phone.heard) == b"".join(parts)


@in_virtual_time
async def test_on_another_stream_a_paused_reply_goes_on_where_it_was_cut() -> None:
    player, phone = call_with(Phone())
    said = noise(16_000)
    speech = speech_of(said, TEXT, ENDS)
    player.say(speech)
    player.mark("m")
    await listen(0.85)
    player.pause()
    newer = Phone()
    newer.player = player
    player.carry_over(newer, "MZ2", AudioFormat())
    await listen(0.5)
    assert newer.sent == []
    player.resume()
    assert (await speech).is_whole
    await listen(0.1)
    assert newer.heard == [said[4000:]]
    assert phone.told_of("mark") == [("mark", "m")]


@in_virtual_time
async def test_a_call_that_ends_during_a_pause() -> None:
    player, _ = call_with(Phone())
    speech = speech_of(noise(16_000), TEXT, ENDS)
    player.say(speech)
    await listen(0.85)
    player.pause()
    player.finish()
    assert await speech == Heard("one two", 850, False)
    assert player.pause() == player.heard()
    player.resume()
    player.release()
    assert player.supersede() == 0


@in_virtual_time
async def test_a_peer_that_echoes_no_marks_repeats_no_more_than_it_may_not_have_played() -> None:
    player, phone = call_with(Phone(echoes=False))
    said = noise(80_000)
    player.say(speech_of(said))
    await listen(7.0)
    heard = player.pause()
    assert 5000 <= heard.ms <= 5400
    player.resume()
    await listen(20.0)
    assert phone.heard[0] == said[: 7 * 8000]
    assert len(phone.heard[1]) >= 3 * 8000
    assert said.endswith(phone.heard[1])
    assert not player.is_speaking


@in_virtual_time
async def test_late_marks_from_before_the_pause_are_not_taken_for_later_ones() -> None:
    twilio = Twilio()
    player = AudioPlayer(twilio, "MZ1", twilio)
    speech = speech_of(bytes(4800), "some words")
    player.say(speech)
    player.mark("m")
    old = twilio.marks
    player.pause()
    player.resume()
    for name in old:
        assert player.echoed(name)
    assert player.heard().ms == 0
    assert ("mark", "m") not in twilio.told
    for name in twilio.marks[len(old) :]:
        assert player.echoed(name)
    assert await speech == Heard("some words", 600, True)
    assert twilio.told[-1] == ("mark", "m")
    # And where none of them came back, they say nothing afterwards.
    for name in old:
        assert player.echoed(name) == (name != "m")
    assert [what for what, _ in twilio.told].count("mark") == 1


@in_virtual_time
async def test_a_source_goes_on_during_a_pause_up_to_its_bound() -> None:
    player, phone = call_with(Phone())
    given: list[bytes] = []

    async def source() -> AsyncIterator[bytes]:
        for number in range(60):
            given.append(noise(1600, number))
            yield given[-1]

    speech = Speech(OutboundAudio())
    player.say(speech, source())
    await listen(0.5)
    before = len(given)
    player.pause()
    await listen(5.0)
    assert len(given) == before
    sent = len(phone.audio)
    player.resume()
    assert await speech == Heard("", 12_000, True)
    assert len(given) == 60
    assert b"".join(phone.heard) == b"".join(given)
    assert len(phone.audio) > sent
    # One that has little goes on.
    small = Speech(OutboundAudio())
    given.clear()
    player.pause()
    player.say(small, source())
    await turns(100)
    assert len(given) == 5 * 5
    player.finish()


@in_virtual_time
async def test_a_source_that_has_nothing_to_say_for_a_while_is_not_cut_in_a_word() -> None:
    player, phone = call_with(Phone())
    more = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield noise(4000, 1)
        await more.wait()
        yield noise(4000, 2)

    speech = Speech(OutboundAudio(), "a rather longwinded text")
    player.say(speech, source())
    await listen(1.0)
    heard = player.pause()
    assert heard.ms == 500
    assert [what for what, _ in phone.told] == ["began", "paused"]
    more.set()
    await listen(1.0)
    player.resume()
    assert (await speech).is_whole
    assert b"".join(phone.heard) == noise(4000, 1) + noise(4000, 2)


@pytest.mark.parametrize("audio_format", [AudioFormat("l16"), AudioFormat("alaw")], ids=lambda each: each.encoding)
@in_virtual_time
async def test_other_formats_go_on_in_theirs(audio_format: AudioFormat) -> None:
    twilio = Twilio()
    player = AudioPlayer(twilio, "MZ1", twilio, audio_format)
    said = noise(8000)
    player.say(speech_of(said, "one two", (4000, 8000)))
    for name in twilio.marks[:3]:
        player.echoed(name)
    player.pause()
    before = len(twilio.audio)
    player.resume()
    pcm = mulaw_decode(said[4000:])
    assert twilio.audio[before:] == (pcm if audio_format.encoding == "l16" else alaw_encode(pcm))
    player.finish()


@in_virtual_time
async def test_a_speech_that_has_not_begun_is_held_and_one_that_has_goes_on() -> None:
    player, phone = call_with(Phone())
    first, second = noise(40_000, 1), noise(4000, 2)
    speeches = [speech_of(first), speech_of(second)]
    player.say(speeches[0])
    player.say(speeches[1])
    player.hold()
    assert player.is_held
    assert (await speeches[0]).is_whole
    await listen(30.0)
    assert phone.audio == first
    assert player.is_speaking
    assert not speeches[1].is_done
    player.release()
    assert not player.is_held
    assert (await speeches[1]).is_whole
    assert phone.audio == first + second


@in_virtual_time
async def test_holding_and_pausing_do_not_touch_each_other() -> None:
    player, phone = call_with(Phone())
    speech, other = speech_of(noise(8000)), speech_of(noise(800))
    player.say(speech)
    await listen(0.25)
    player.hold()
    player.pause()
    player.release()
    assert player.is_paused
    player.hold()
    player.say(other)
    player.resume()
    assert player.is_held
    assert (await speech).is_whole  # it had begun
    await listen(5.0)
    assert not other.is_done
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    assert loop.timers() == []
    player.clear()
    assert player.is_held
    assert await other == Heard("", 0, False)
    assert phone.told_of("overdue") == []


@in_virtual_time
async def test_a_held_source_that_says_nothing_ends() -> None:
    player, _ = call_with(Phone())

    async def source() -> AsyncIterator[bytes]:
        for _ in range(0):
            yield b""

    speech = Speech(OutboundAudio(), "not said")
    player.hold()
    player.say(speech, source())
    assert await speech == Heard("", 0, False)


@in_virtual_time
async def test_speeches_that_have_not_begun_are_superseded_but_for_uninterruptible_ones() -> None:
    player, phone = call_with(Phone())
    playing, notice = speech_of(noise(40_000)), speech_of(noise(800), "by law", is_interruptible=False)
    waiting = [speech_of(noise(800), text) for text in ("old", "older")]
    player.say(playing)
    player.mark("after playing")
    player.say(waiting[0])
    player.mark("after old")
    player.say(notice)
    player.say(waiting[1])
    assert player.supersede() == 2
    assert [await speech for speech in waiting] == [Heard("", 0, False)] * 2
    assert phone.told_of("ended") == [("ended", Heard("", 0, False))] * 2
    assert player.supersede() == 0
    assert (await playing).is_whole
    assert await notice == Heard("by law", 100, True)
    assert [name for _, name in phone.told_of("mark")] == ["after playing", "after old"]
    assert player.heard().is_whole


@in_virtual_time
async def test_of_a_paused_reply_only_what_was_not_heard_is_superseded() -> None:
    player, phone = call_with(Phone())
    said = noise(4000)
    first, second = speech_of(said), speech_of(noise(4000))
    player.say(first)
    player.say(second)
    await listen(0.25)
    player.pause()
    assert player.supersede() == 1
    assert await second == Heard("", 0, False)
    player.resume()
    assert (await first).is_whole
    assert b"".join(phone.heard) == said


@in_virtual_time
async def test_a_paused_speech_that_was_superseded_is_not_resumed() -> None:
    player, phone = call_with(Phone())
    player.say(speech_of(noise(4000)))
    player.pause()
    assert player.supersede() == 1
    player.resume()
    await listen(2.0)
    nothing = Heard("", 0, False)
    assert phone.told == [("began", 1), ("paused", nothing), ("ended", nothing)]
    assert phone.played_samples == 0


@in_virtual_time
async def test_of_what_was_played_no_audio_is_kept() -> None:
    player, _ = call_with(Phone())
    speech = speech_of(noise(4000))
    player.say(speech)
    await speech
    assert speech.audio.put_back(0) == speech.audio.total_samples == 4000


@in_virtual_time
async def test_what_is_uninterruptible_is_not_paused_nor_interrupted_but_cleared_by_its_handler() -> None:
    player, phone = call_with(Phone())
    assert player.is_interruptible
    talk, notice, more = (
        speech_of(noise(40_000), "talk"),
        speech_of(noise(20_000), "by law", is_interruptible=False),
        speech_of(noise(800), "more"),
    )
    player.say(talk)
    player.say(notice)
    player.say(more)
    assert player.is_interruptible
    await listen(4.0)
    # The notice is at the peer, or next.
    assert not player.is_interruptible
    assert player.pause().text == "talk"
    assert not player.is_paused
    heard, confirmed = player.interrupt()
    assert confirmed.result() == heard
    assert await more == Heard("", 0, False)
    assert "clear" not in phone.events
    await listen(2.0)
    assert talk.is_done
    assert not player.is_interruptible
    player.clear()
    assert not (await notice).is_whole
    assert player.is_interruptible


@pytest.mark.parametrize("is_paused", [False, True])
@in_virtual_time
async def test_an_interruption_leaves_the_uninterruptible_that_waits(is_paused: bool) -> None:
    player, phone = call_with(Phone())
    talk, more = speech_of(noise(40_000), "talk"), speech_of(noise(800), "more")
    notice = speech_of(noise(4000), "by law", is_interruptible=False)
    player.say(talk)
    player.mark("of the talk")
    player.say(notice)
    player.say(more)
    player.mark("of the notice")
    await listen(1.0)
    if is_paused:
        player.pause()
    heard, confirmed = player.interrupt()
    assert not player.is_paused
    assert heard.ms == 1000
    assert await talk == heard
    assert await more == Heard("", 0, False)
    await listen(0.1)
    assert confirmed.done()
    assert [name for _, name in phone.told_of("mark")] == ["of the talk"]
    assert await notice == Heard("by law", 500, True)
    await listen(0.1)
    assert [name for _, name in phone.told_of("mark")] == ["of the talk", "of the notice"]
    assert phone.heard[-1] == noise(4000)
    assert player.heard() == Heard("by law", 500, True)


@in_virtual_time
async def test_an_interruption_ends_a_pause_even_where_only_the_uninterruptible_waits() -> None:
    player, phone = call_with(Phone())
    player.pause()
    notice = speech_of(noise(4000), "by law", is_interruptible=False)
    player.say(notice)
    assert not player.is_interruptible
    player.interrupt()
    assert not player.is_paused
    assert await notice == Heard("by law", 500, True)
    assert phone.heard[-1] == noise(4000)
