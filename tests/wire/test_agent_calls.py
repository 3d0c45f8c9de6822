"""Handlers on real sockets: what is said to the byte, barge-in and isolation among many calls."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from array import array

import pytest

import talkers
from fastcall._codec import mulaw_encode
from fastcall.audio.tones import VOCABULARY
from peers import PATIENCE_S, Phone, both_paths, serving, tones
from proofs.agents import KINDS, barge_ins, main, misbehaving
from thoroughness import amount

# Their telephones share a process: where that is held up for seconds, the server takes them for telephones that return
# no marks, and for ones that have played all there was before they break in. `make agents` has a hundred.
CALLS = amount(16, thorough=40)


async def test_what_a_handler_says_is_sent_to_the_byte_in_twilios_frames(prompt_emulator: str) -> None:
    """Every message is compared as a whole: a field too many or too few is another message."""
    async with serving(prompt_emulator, handler="talkers:say_exactly") as served, Phone(served.url, "exact") as phone:
        await phone.start()
        said, number = b"", 0
        async with asyncio.timeout(PATIENCE_S):
            while len(said) < 5001:
                chunk = talkers.SPEECH[len(said) : min(5001, len(said) + 1600)]
                number += 1
                media, mark = await phone.socket.recv(), await phone.socket.recv()
                payload = base64.b64encode(chunk).decode()
                sid = phone.ids.stream_sid
                assert json.loads(media) == {"event": "media", "streamSid": sid, "media": {"payload": payload}}
                name = f"fastcall:{number}"
                assert json.loads(mark) == {"event": "mark", "streamSid": sid, "mark": {"name": name}}
                await phone.socket.send(phone.messages.mark(name))
                said += chunk
        # It awaited the last of it before it hung up.
        assert await phone.closed() == (1000, "the handler hung up")


async def played(phone: Phone) -> tuple[str, list[str], bytes]:
    """Play at once what the handler says: the mark by which it tells what it has seen, all else that came before, and
    the audio of that."""
    came: list[str] = []
    audio = b""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            message = json.loads(await phone.socket.recv())
            if message["event"] == "media":
                audio += base64.b64decode(message["media"]["payload"])
            elif message["event"] == "clear":
                came.append("clear")
            else:
                name = message["mark"]["name"]
                if " " in name:
                    return name, came, audio
                came.append(name)
                await phone.socket.send(phone.messages.mark(name))


async def test_marks_of_the_handler_that_wait_at_a_clear_are_passed(prompt_emulator: str) -> None:
    async with (
        serving(prompt_emulator, handler="talkers:clear_what_waits") as served,
        Phone(served.url, "cleared") as phone,
    ):
        await phone.start()
        told, came, audio = await played(phone)
    assert told == "cut before between behind"
    assert [name for name in came if not name.startswith("fastcall:")] == ["before", "between", "behind", "clear"]
    assert len(audio) < 40_000


async def test_nothing_a_wav_file_in_pieces_and_compressed_audio(
    prompt_emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(prompt_emulator, handler="talkers:say_files") as served, Phone(served.url, "files") as phone:
        await phone.start()
        told, _, audio = await played(phone)
    refusal = "the audio is an MP3 file, which is not supported: configure your voice for WAV, PCM or mu-law"
    assert told.startswith(f"whole, whole, cut, {refusal}")
    assert audio == talkers.SPEECH[:5001]
    assert refusal in caplog.text  # where what came of an iterator is told


async def test_a_turn_is_in_the_transcript_stream_with_its_parts_and_in_the_numbers(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, handler="talkers:answer_each") as served, Phone(served.url, "turn") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple arrow [900]"))
        record = await served.transcripts.wait_for(phone.call_sid, "first_response")
        parts = [record[f"{part}_ms"] for part in ("endpointing", "commit", "agent", "first_audio")]
        assert sum(parts) == pytest.approx(record["total_ms"], abs=0.5)
        assert 400 <= record["endpointing_ms"] <= record["total_ms"]
        metrics = served.server.metrics
        assert sum(metrics.turn_agent_seconds.counts) == 1
        audio = await served.transcripts.wait_for(phone.call_sid, "agent_audio")
        assert (audio["state"], audio["speech_id"]) == ("begin", 1)
        await phone.stop()


async def test_a_reply_that_was_begun_early_answers_sooner_and_says_by_how_much(prompt_emulator: str) -> None:
    """The reply takes 0.3 s. Begun at the committed text, all of that is waited for."""
    found: dict[int, dict[str, float]] = {}
    for after_ms in (0, 100):
        async with serving(
            prompt_emulator, handler="talkers:think", speculate_after_ms=after_ms, utterance_commit_ms=300
        ) as served:
            phone = Phone(served.url, f"think {after_ms}")
            async with phone:
                await phone.start()
                await phone.speak(tones("[300] apple arrow autumn [1500]"))
                found[after_ms] = await served.transcripts.wait_for(phone.call_sid, "first_response")
                await phone.stop()
            starts = served.server.metrics.speculative_starts
            assert starts["kept"] == (1 if after_ms else 0)
    assert found[0]["agent_ms"] >= 299
    assert found[0]["gained_ms"] == 0
    assert found[100]["gained_ms"] > 0
    assert found[100]["agent_ms"] + found[100]["gained_ms"] >= 299


async def test_the_next_utterance_stops_an_answer_that_the_voice_did_not(prompt_emulator: str) -> None:
    async with (
        serving(prompt_emulator, handler="talkers:answer_at_length", barge_in=False) as served,
        Phone(served.url, "next") as phone,
    ):
        await phone.start()
        for turn, said in enumerate(("apple arrow", "autumn"), start=1):
            await phone.speak(tones(f"[300] {said} [900]"))
            await served.transcripts.wait_for(phone.call_sid, "first_response", turn)
        audio = served.transcripts.of(phone.call_sid, "agent_audio")
        barge_ins = served.transcripts.of(phone.call_sid, "barge_in")
        await phone.stop()
    assert [(record["state"], record["speech_id"]) for record in audio] == [("begin", 1), ("cut", 1), ("begin", 2)]
    assert [record["text"] for record in audio if record["state"] == "begin"] == ["first", "cut"]
    assert barge_ins == []


async def test_callers_break_in_and_each_is_answered_by_clear(prompt_emulator: str) -> None:
    assert (await barge_ins(prompt_emulator, calls=CALLS, times=2)).problems(2 * CALLS) == []


async def test_handlers_that_misbehave_cost_no_call_its_audio(prompt_emulator: str) -> None:
    for name, kind in KINDS.items():
        found = await misbehaving(prompt_emulator, kind, calls=CALLS, seconds=2.0)
        assert found.problems() == [], name


def test_the_proof_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Barge-in" in capsys.readouterr().out


GREETING = tones("[300] " + " [60] ".join(VOCABULARY[:36]) + " [800]")
BEEP = mulaw_encode(array("h", [round(8000 * math.sin(2 * math.pi * n / 8)) for n in range(4000)]).tobytes())


@both_paths
@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"Direction": "outbound-api"}, ["at first None", "monologue", "monologue beeps"]),
        ({"AnsweredBy": "machine_start"}, ["at first twilio", "twilio beeps"]),
        ({"Direction": "inbound"}, ["at first None"]),
    ],
)
async def test_a_voicemail_is_known_by_its_greeting_and_its_beep_tells_when_to_speak(
    parameters: dict[str, str], told: list[str], prompt_emulator: str
) -> None:
    async with (
        serving(prompt_emulator, handler="talkers:tell_of_machines") as served,
        Phone(served.url, "voicemail") as phone,
    ):
        await phone.start(parameters)
        await phone.say(GREETING)
        await served.transcripts.wait_for(phone.call_sid, "utterance_end")
        if "monologue" in told:
            await served.transcripts.wait_for(phone.call_sid, "machine_detected")
        await phone.say(BEEP + b"\xff" * 1600)
        if len(told) > 1:
            beep = await served.transcripts.wait_for(phone.call_sid, "beep")
            assert beep["end_ms"] - beep["start_ms"] == pytest.approx(500, abs=20)
            assert beep["end_ms"] == pytest.approx(len(GREETING + BEEP) // 8, abs=20)
        came = [json.loads(await phone.socket.recv())["mark"]["name"] for _ in told]
        assert came == told
        await served.hang_up(phone)
        assert len(served.transcripts.of(phone.call_sid, "machine_detected", "beep")) == (2 if len(told) > 1 else 0)
