"""SIGTERM under load: calls may end, then they are ended, and nothing that was said is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import time
from pathlib import Path

import pytest

from peers import PATIENCE_S, Phone, ask, serve_process, serving, tones, words_of_call

CALLS = 100
LEAVERS = 10
DRAIN_S = 6


async def test_a_hundred_calls_are_not_cut_while_draining_and_keep_their_last_words(
    prompt_emulator: str, tmp_path: Path
) -> None:
    path = tmp_path / "transcripts.ndjson"
    first = [words_of_call(number, 1)[0] for number in range(CALLS)]
    last = [words_of_call(number, 1, start=1)[0] for number in range(CALLS)]
    async with (
        serve_process(
            *("--transcripts", str(path), "--drain-timeout", str(DRAIN_S)),
            SPEECH_EMULATOR_HOST=prompt_emulator,
        ) as process,
        contextlib.AsyncExitStack() as stack,
    ):
        port = int(process.ready[1].rpartition(":")[2].partition("/")[0])
        phones = [Phone(process.ready[1], f"call {n}") for n in range(CALLS)]
        for phone, word in zip(phones, first, strict=True):
            await stack.enter_async_context(phone)
            await phone.start()  # at once: a connection waits for it no longer than 10 s
            await phone.say(tones(f"[200] {word} [200]"))
        for phone in phones:
            await (await phone.socket.ping())
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait_for, f"draining: {CALLS} live calls")
        draining_at = asyncio.get_running_loop().time()
        assert "draining" in (await ask(port, "/readyz")).body
        # Nobody was cut: everybody goes on to speak, and some hang up.
        for phone, word in zip(phones, last, strict=True):
            await phone.say(tones(f"{word} [100]"))
        for phone in phones[:LEAVERS]:
            await phone.stop()
            await phone.socket.close()
        closed = await asyncio.gather(*(phone.closed() for phone in phones[LEAVERS:]))
        waited_s = asyncio.get_running_loop().time() - draining_at
        status = await asyncio.to_thread(process.wait)
    assert (status, process.stderr) == (0, "")
    assert [code for code, _ in closed] == [1012] * (CALLS - LEAVERS)
    assert DRAIN_S - 1 <= waited_s < PATIENCE_S
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, phone in enumerate(phones):
        mine = [record for record in records if record["call_sid"] == phone.call_sid]
        assert [record["event"] for record in mine][-2:] == ["session_closed", "call_ended"]
        texts = {r["utterance_id"]: r["text"] for r in mine if r["event"] in ("utterance_end", "amended")}
        assert " ".join(texts.values()) == f"{first[number]} {last[number]}"


async def test_the_drain_ends_with_the_last_call(prompt_emulator: str) -> None:
    async with serve_process("--drain-timeout", "3000", SPEECH_EMULATOR_HOST=prompt_emulator) as process:
        async with Phone(process.ready[1], "last") as phone:
            await phone.start()
            await phone.say(tones("[300] apple [200]"))
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait_for, "draining")
            await phone.stop()
        assert await asyncio.to_thread(process.wait) == 0
    assert any(re.search("(Final|Amended): apple", line) for line in process.lines)


@pytest.mark.parametrize(("workers", "number"), [("1", signal.SIGINT), ("2", signal.SIGTERM)])
async def test_a_second_signal_does_not_wait(workers: str, number: int, prompt_emulator: str) -> None:
    options = ("--workers", workers, "--drain-timeout", "3000")
    async with (
        serve_process(*options, SPEECH_EMULATOR_HOST=prompt_emulator) as process,
        Phone(process.ready[1], "cut") as phone,
    ):
        await phone.start()
        await phone.say(tones("[300] apple [200]"))
        await asyncio.to_thread(process.wait_for, "🟡 Partial: apple")
        process.send_signal(number)
        await asyncio.to_thread(process.wait_for, "draining")
        process.send_signal(number)
        assert (await phone.closed())[0] == 1012
        assert await asyncio.to_thread(process.wait) == 0
    assert any(re.search("(Final|Amended): apple", line) for line in process.lines)


async def test_a_clock_that_is_set_back_keeps_neither_places_nor_a_drain(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastcall.server.admission.RESERVED_S", 0.2)
    limits = {"max_calls": 1, "drain_timeout_s": 3000.0, "insecure": True}
    async with serving(prompt_emulator, options=limits, public_url="https://voice.example.com") as served:
        reserved = await ask(served.port, "/twiml?CallSid=CA1")
        assert "<Stream" in reserved.body
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        async with asyncio.timeout(PATIENCE_S):
            await served.server.drain()
