"""The way out: Twilio's messages to the byte, pace, marks, clear."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest

from fastcall._codec import mulaw_encode
from fastcall.agent import player as player_module
from fastcall.agent.heard_text import Heard
from fastcall.agent.outbound import OutboundAudio
from fastcall.agent.player import AudioPlayer, Speech
from fastcall.errors import BacklogError
from fastcall.events import AudioFormat
from fastcall.simulator.twilio_client import CallIds
from handsets import Twilio
from peers import turns
from sim.clock import elapse, in_virtual_time


def speech_of(mulaw: bytes, text: str = "") -> Speech:
    audio = OutboundAudio()
    audio.feed(mulaw)
    audio.end()
    return Speech(audio, text)


def make() -> tuple[AudioPlayer, Twilio]:
    twilio = Twilio()
    return AudioPlayer(twilio, "MZ1", twilio), twilio


async def drawn(
    player: AudioPlayer, pieces: Iterable[bytes], text: str = "", audio: OutboundAudio | None = None
) -> Speech:
    """A speech whose source yields these, when all of them were taken."""

    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    speech = Speech(audio or OutboundAudio(), text)
    player.say(speech, source())
    assert speech.source is not None
    async with asyncio.timeout(5):
        await speech.source
    return speech


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@in_virtual_time
async def test_each_chunk_is_followed_by_its_mark_and_the_bytes_are_those() -> None:
    player, twilio = make()
    said = bytes(range(256)) * 15
    speech = speech_of(said, "some text")
    player.say(speech)
    assert twilio.events == ["media", "mark"] * 3
    assert twilio.sent[0] == {
        "event": "media", "streamSid": "MZ1", "media": {"payload": base64.b64encode(said[:1600]).decode()}
    }  # fmt: skip
    assert twilio.sent[1] == {"event": "mark", "streamSid": "MZ1", "mark": {"name": "fastcall:1"}}
    assert twilio.audio == said
    assert player.is_speaking
    for name in twilio.marks:
        assert not speech.is_done
        assert player.echoed(name)
    assert await speech == Heard("some text", 480, True)
    assert not player.is_speaking
    assert twilio.told == [("began", 1), ("ended", Heard("some text", 480, True))]
    assert not player.echoed("somebody else's")


@in_virtual_time
async def test_on_another_stream_what_waits_is_said_and_what_was_sent_counts_as_passed() -> None:
    player, twilio = make()
    first, second = speech_of(bytes(1600), "lost"), speech_of(bytes(40_000))
    player.say(first)
    player.mark("mine")
    player.say(second)
    newer = Twilio()
    player.carry_over(newer, "MZ2", AudioFormat())
    assert [kind for kind, _ in twilio.told[2:]] == ["mark", "ended"]
    assert not (await first).is_whole
    assert not second.is_done
    assert {message["streamSid"] for message in newer.sent} == {"MZ2"}
    assert len(newer.audio) == 16_000
    assert not player.echoed("theirs")
    player.finish()


@in_virtual_time
async def test_the_peer_has_one_to_two_seconds_in_store_and_gets_more_as_it_plays() -> None:
    player, twilio = make()
    player.say(speech_of(bytes(80_000)))
    assert len(twilio.audio) == 16_000
    for tenths in range(1, 75):
        await elapse(0.1)
        if tenths % 2 == 0:
            assert player.echoed(twilio.marks[tenths // 2 - 1])
        assert 1.0 <= len(twilio.audio) / 8000 - tenths / 10 <= 2.0
    player.finish()


@in_virtual_time
async def test_calls_that_begin_to_speak_at_once_do_not_all_send_at_once_ever_after() -> None:
    loop, calls = asyncio.get_running_loop(), 100
    sent_at: list[float] = []
    players = []
    for number in range(calls):
        twilio = Twilio()
        player = AudioPlayer(twilio, CallIds.derive("spread", number).stream_sid, twilio)
        player.say(speech_of(bytes(80_000)))
        twilio.send_soon = lambda frames: sent_at.append(loop.time())  # type: ignore[method-assign]
        players.append(player)
    await elapse(4.0)
    turns_of_20_ms = Counter(int(at / 0.02) for at in sent_at)
    assert len(sent_at) > 10 * calls
    assert max(turns_of_20_ms.values()) < calls / 4
    for player in players:
        player.finish()


@in_virtual_time
async def test_the_timer_sends_on_without_any_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player_module, "LEAD_S", 0.02)
    monkeypatch.setattr(player_module, "CHUNK_SAMPLES", 80)
    player, twilio = make()
    speech = speech_of(bytes(480), "all of it")
    monkeypatch.setattr(player_module, "ECHO_GRACE_S", 0.01)
    monkeypatch.setattr("fastcall.agent.playout.ECHO_GRACE_S", 0.01)
    player.say(speech)
    assert len(twilio.audio) < 480
    async with asyncio.timeout(5):
        heard = await speech
    assert len(twilio.audio) == 480
    # No mark came back: that much at least is known of the first chunk.
    assert (heard.ms, heard.is_whole) == (10, False)
    assert player.echoed(twilio.marks[-1])


@in_virtual_time
async def test_what_a_filter_has_kept_back_is_sent_without_any_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source ends when all of it is sent and the peer has its fill: the filter has the rest."""
    monkeypatch.setattr(player_module, "LEAD_S", 0.02)
    monkeypatch.setattr(player_module, "LOW_LEAD_S", 0.01)
    monkeypatch.setattr(player_module, "CHUNK_SAMPLES", 80)
    monkeypatch.setattr(player_module, "ECHO_GRACE_S", 0.01)
    monkeypatch.setattr("fastcall.agent.playout.ECHO_GRACE_S", 0.01)
    player, twilio = make()
    speech = await drawn(player, [bytes(4 * 160)], audio=OutboundAudio("pcm", 16_000))
    async with asyncio.timeout(5):
        await speech
    assert len(twilio.audio) == 160


@in_virtual_time
async def test_clear_tells_what_was_heard_and_waits_for_the_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Time since the last mark counts as heard, and the machine may take some.
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1000.0)
    player, twilio = make()
    first, second = speech_of(bytes(1600), "the first."), speech_of(bytes(8000), "and then the second one")
    player.say(first)
    player.say(second)
    for name in twilio.marks[:4]:
        player.echoed(name)
    heard, confirmed = player.clear()
    assert heard == Heard("the first. and then the", 800, False)
    assert twilio.events[-1] == "clear"
    assert twilio.sent[-1] == {"event": "clear", "streamSid": "MZ1"}
    assert not player.is_speaking
    assert (await first).is_whole
    assert await second == Heard("and then the", 600, False)
    await asyncio.sleep(0)
    assert not confirmed.done()
    for name in twilio.marks[4:]:
        assert player.echoed(name)
    assert await confirmed == heard
    # What is said after it is another answer.
    player.say(speech_of(bytes(800), "new"))
    assert player.heard() == Heard("", 0, False)


@in_virtual_time
async def test_marks_that_do_not_come_back_are_waited_for_no_longer_than_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player_module, "CLEAR_TIMEOUT_S", 0.01)
    player, twilio = make()
    player.say(speech_of(bytes(3200)))
    _, confirmed = player.clear()
    async with asyncio.timeout(5):
        await confirmed
    assert ("overdue", 2) in twilio.told


@in_virtual_time
async def test_a_clear_of_nothing_is_confirmed_at_once() -> None:
    player, twilio = make()
    heard, confirmed = player.clear()
    assert confirmed.result() == heard == Heard("", 0, True)
    assert twilio.events == ["clear"]


@in_virtual_time
async def test_an_answer_is_what_was_said_since_the_last_utterance_and_what_is_not_over() -> None:
    player, twilio = make()
    player.say(speech_of(bytes(800), "old"))
    player.echoed(twilio.marks[0])
    player.say(speech_of(bytes(800), "older but not over"))
    player.begin_answer()
    player.say(speech_of(bytes(800), "new"))
    player.echoed(twilio.marks[1])
    player.echoed(twilio.marks[2])
    heard, _ = player.clear()
    assert heard.text == "older but not over new"


@in_virtual_time
async def test_a_source_is_read_no_further_ahead_than_it_may_be_and_closed_when_it_is_cut() -> None:
    player, twilio = make()
    given, closed = [], asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            while True:
                given.append(1)
                yield bytes(1600)
        finally:
            closed.set()

    speech = Speech(OutboundAudio(), "without end")
    player.say(speech, source())
    await turns(100)
    assert len(given) == (2 + 5) * 5
    player.clear()
    async with asyncio.timeout(5):
        await closed.wait()
    assert not (await speech).is_whole
    assert len(twilio.audio) == 16_000


@in_virtual_time
async def test_small_pieces_are_gathered_while_the_peer_has_enough() -> None:
    player, twilio = make()
    await drawn(player, [bytes(160)] * 90)
    assert len(twilio.audio) == 90 * 160
    sizes = [len(base64.b64decode(m["media"]["payload"])) for m in twilio.sent if m["event"] == "media"]
    assert sizes[0] == 160
    # 0.4 s at once, as it comes; then whole chunks.
    small = sizes.index(1600)
    assert small >= 20
    assert sizes[small:-1] == [1600] * len(sizes[small:-1])
    player.finish()


@pytest.mark.parametrize("kind", [OSError, SystemExit])
@in_virtual_time
async def test_a_source_that_fails_is_told_and_what_there_was_is_played(kind: type[BaseException]) -> None:
    def failing() -> Iterator[bytes]:
        yield bytes(800)
        raise kind("no voice")

    player, twilio = make()
    speech = await drawn(player, failing(), "some long sentence of which nobody heard the end")
    assert [str(error) for what, error in twilio.told if what == "failed"] == ["no voice"]
    player.echoed(twilio.marks[0])
    assert await speech == Heard("", 100, False)


@in_virtual_time
async def test_what_was_cut_off_is_the_same_for_whoever_asks() -> None:
    """Of a source that has not ended nobody knows the length: words go at the pace of speech."""
    player, twilio = make()

    async def source() -> AsyncIterator[bytes]:
        yield bytes(8000)
        await asyncio.Event().wait()

    speech = Speech(OutboundAudio(), "a sentence that is still being made")
    player.say(speech, source())
    await turns(2)
    for mark in twilio.marks:
        player.echoed(mark)
    heard, _ = player.clear()
    assert heard == await speech == Heard("a sentence that", 1000, False)


def wav_of(audio: bytes, *, rate_hz: int = 8000, size: int | None = None) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    size = len(audio) if size is None else size
    return b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + audio


@pytest.mark.parametrize("piece_bytes", [1, 7, 44, 45, 10_000])
@pytest.mark.parametrize("size", [None, 0xFFFF_FFFF])
@in_virtual_time
async def test_a_wav_file_in_pieces_is_played_without_its_header(piece_bytes: int, size: int | None) -> None:
    player, twilio = make()
    pcm = struct.pack("<400h", *range(0, 16_000, 40))
    speech = await drawn(player, cut(wav_of(pcm, size=size), piece_bytes), "hello")
    for mark in twilio.marks:
        player.echoed(mark)
    assert await speech == Heard("hello", 50, True)
    assert twilio.audio == mulaw_encode(pcm)


@in_virtual_time
async def test_the_rate_of_a_wav_file_in_pieces_is_its_own() -> None:
    player, twilio = make()
    speech = await drawn(player, cut(wav_of(bytes(2 * 2400), rate_hz=24_000), 50), audio=OutboundAudio("pcm", 16_000))
    for mark in twilio.marks:
        player.echoed(mark)
    assert await speech == Heard("", 100, True)
    assert len(twilio.audio) == 800


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"ID3\x04\0\0\0\0\0\x23" + bytes(4000), "MP3"),
        (b"OggS\0\x02" + bytes(4000), "Ogg"),
        (wav_of(bytes(800), size=1600), "cut off"),
        (wav_of(b"")[:30], "cut off"),
    ],
    ids=["mp3", "ogg", "cut off", "header only"],
)
@in_virtual_time
async def test_a_source_of_something_else_is_told_and_not_played(data: bytes, says: str) -> None:
    player, twilio = make()
    speech = await drawn(player, cut(data, 10), "hello")
    (error,) = [error for what, error in twilio.told if what == "failed"]
    assert says in str(error)
    for mark in twilio.marks:
        player.echoed(mark)
    assert not (await speech).is_whole
    assert len(twilio.audio) == (400 if says == "cut off" and len(data) > 100 else 0)


@in_virtual_time
async def test_a_source_without_any_audio_was_not_heard() -> None:
    player, _ = make()
    assert await (await drawn(player, [], "not said")) == Heard("", 0, False)


@in_virtual_time
async def test_what_waits_is_bounded() -> None:
    player, _ = make()
    player.say(speech_of(bytes(2_400_000)))
    with pytest.raises(BacklogError, match="await what say"):
        player.say(speech_of(bytes(20_000)))
    for _ in range(511):
        player.mark("m")
    with pytest.raises(BacklogError):
        player.mark("m")
    player.finish()


@in_virtual_time
async def test_marks_of_a_handler_keep_their_place() -> None:
    player, twilio = make()
    player.say(speech_of(bytes(800)))
    player.mark("between")
    player.say(speech_of(bytes(800)))
    assert twilio.marks == ["fastcall:1", "between", "fastcall:2"]
    player.finish()


@in_virtual_time
async def test_marks_that_wait_here_at_a_clear_come_back_like_those_that_wait_there() -> None:
    """Twilio sends back all marks at a clear. It has two seconds of this speech; the marks behind it were not sent."""
    player, twilio = make()
    player.mark("before")
    player.say(speech_of(bytes(80_000), "a long one"))
    player.mark("behind")
    player.mark("behind")
    player.say(speech_of(bytes(800)))
    player.mark("last")
    assert [name for name in twilio.marks if not name.startswith("fastcall:")] == ["before"]
    _, confirmed = player.clear()
    assert twilio.events[-4:] == ["mark", "mark", "mark", "clear"]
    for name in twilio.marks:
        assert player.echoed(name)
    assert not (await confirmed).is_whole
    assert [name for what, name in twilio.told if what == "mark"] == ["before", "behind", "behind", "last"]
    assert not player.is_speaking


@in_virtual_time
async def test_marks_that_a_clear_does_not_bring_back_are_passed_when_it_is_overdue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(player_module, "CLEAR_TIMEOUT_S", 0.01)
    player, twilio = make()
    player.say(speech_of(bytes(1600)))
    player.mark("mine")
    _, confirmed = player.clear()
    async with asyncio.timeout(30):
        await confirmed
    assert twilio.told[-2:] == [("overdue", 2), ("mark", "mine")]
    # Too late: nothing is told twice, and the next clear waits for nothing.
    assert player.echoed("fastcall:1")
    assert player.echoed("mine")
    _, confirmed = player.clear()
    assert confirmed.done()
    assert [what for what, _ in twilio.told].count("mark") == 1


@in_virtual_time
async def test_marks_of_a_peer_that_echoes_none_are_passed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastcall.agent.playout.ECHO_GRACE_S", 0.01)
    player, twilio = make()
    player.say(speech_of(bytes(80)))
    player.mark("one")
    stalled = Speech(OutboundAudio(), "whose voice is slow")
    player.say(stalled)
    player.mark("behind it")
    told = asyncio.Event()
    monkeypatch.setattr(twilio, "mark_passed", lambda name: (twilio.told.append(("mark", name)), told.set()))
    async with asyncio.timeout(30):
        await told.wait()
    assert ("mark", "one") in twilio.told
    assert ("mark", "behind it") not in twilio.told
    player.finish()


@in_virtual_time
async def test_nothing_is_whole_and_a_text_without_audio_is_not() -> None:
    for text, is_whole in (("", True), ("not said", False)):
        speech = speech_of(b"", text)
        assert speech.finish(0) == Heard("", 0, is_whole)


@in_virtual_time
async def test_when_the_call_is_over_everybody_is_let_go() -> None:
    player, twilio = make()
    speech = speech_of(bytes(3200), "two words")
    player.say(speech)
    _, confirmed = player.clear()
    player.finish()
    player.finish()
    assert (await confirmed).ms == 0
    late = speech_of(bytes(800))
    player.say(late)
    assert not (await late).is_whole
    assert twilio.events[-1] == "clear"


@in_virtual_time
async def test_a_handler_that_speaks_for_ever_does_not_hold_the_loop_when_the_call_is_over() -> None:
    player, _ = make()
    player.finish()
    spoken = 0

    async def speak() -> None:
        nonlocal spoken
        while spoken < 1000:
            speech = speech_of(bytes(1600))
            player.say(speech)
            await speech
            spoken += 1

    speaking = asyncio.create_task(speak())
    await turns(10)
    assert 0 < spoken <= 20
    speaking.cancel()


@in_virtual_time
async def test_a_reply_that_is_cancelled_notes_at_once_what_was_heard() -> None:
    """The next reply begins in the same turn of the loop, and asks its model with what this one said."""
    player, _ = make()
    played = speech_of(bytes(1600))
    player.say(played)
    player.clear()
    assert played.is_done
    with pytest.raises(StopIteration):
        next(played.__await__())
