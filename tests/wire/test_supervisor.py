"""Several processes behind one port: who gets a call, what they say together, and what is left when one dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

import forkserver
from fastcall.twilio.stream_tokens import PARAMETER, mint_token
from peers import (
    PATIENCE_S,
    Phone,
    ask,
    phones,
    reading,
    serve_environment,
    tones,
    words_of_call,
)
from waiting import until_so
from workers import Records, on_the_line, serving_workers

SECRET = "a-stream-secret-of-some-length"


async def test_calls_go_evenly_and_what_is_asked_speaks_for_all(prompt_emulator: str, tmp_path: Path) -> None:
    path = tmp_path / "transcripts.ndjson"
    async with (
        serving_workers(prompt_emulator, "--transcripts", str(path)) as it,
        reading(it.port) as live,
        contextlib.AsyncExitStack() as stack,
    ):
        phones = [await stack.enter_async_context(Phone(it.url, f"even {n}")) for n in range(20)]
        said = [words_of_call(number, 2) for number in range(20)]
        for phone, words in zip(phones, said, strict=True):
            await phone.start()
            await phone.say(tones(["[300]", *words, "[300]"]))
        assert await it.number("fastcall_calls_live", 20) == 20
        if sys.platform == "linux":
            await until_so(lambda: it.has_sockets([10, 10]))  # the last request for numbers may just be going
        assert (await ask(it.port, "/readyz")).status == 200
        for phone in phones:
            await phone.stop()
        assert await it.number("fastcall_calls_ended_total", 20) == 20
        numbers = await it.numbers()
        assert (numbers["fastcall_calls_started_total"], numbers["fastcall_calls_live"]) == (20, 0)
        assert numbers["fastcall_commit_latency_seconds_count"] >= 20
        ended: dict[str, list[str]] = {}
        while sum("call_ended" in events for events in ended.values()) < 20:
            async with asyncio.timeout(PATIENCE_S):
                size = int(await live.readline(), 16)
                record = json.loads((await live.readexactly(size + 2))[:-2])
            ended.setdefault(record["call_sid"], []).append(record["event"])
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for phone, words in zip(phones, said, strict=True):
        mine = [record for record in records if record["call_sid"] == phone.call_sid]
        # Of one utterance, amended where the recognizer needed longer than its commit waits.
        texts = [record["text"] for record in mine if record["event"] in {"utterance_end", "amended"}]
        assert texts[-1] == " ".join(words)
        assert [record["event"] for record in mine].count("utterance_end") == 1
        assert ended[phone.call_sid] == [record["event"] for record in mine]


async def test_a_worker_that_is_killed_takes_only_its_own_calls_and_comes_back(prompt_emulator: str) -> None:
    async with serving_workers(prompt_emulator) as it, contextlib.AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(Phone(it.url, f"kill {n}")) for n in range(20)]
        for phone in phones:
            await phone.start()
        assert await it.number("fastcall_calls_live", 20) == 20
        speaking = [asyncio.create_task(phone.speak(tones("[300] apple arrow autumn [500]"))) for phone in phones]
        before = it.pids
        await asyncio.to_thread(it.process.wait_for, r"Partial: apple")
        os.kill(before[1], signal.SIGKILL)
        told = r"worker 1 was killed by signal 9; (\d+) calls lost: (.*) \("
        line = await asyncio.to_thread(it.process.wait_for, told)
        await asyncio.to_thread(it.process.wait_for, f"worker 1 ready, pid (?!{before[1]}$)")
        lost = set(line[2].split(", "))
        # About half of them: who has the fewest is known by reports, which come late from a worker that is held up.
        assert len(lost) == int(line[1])
        assert 5 <= len(lost) <= 15
        results = await asyncio.gather(*speaking, return_exceptions=True)
        for phone, result in zip(phones, results, strict=True):
            if phone.call_sid in lost:
                assert result is None or isinstance(result, ConnectionClosed)
            else:
                assert result is None
                await asyncio.to_thread(it.process.wait_for_words, "apple arrow autumn", phone.call_sid)
                await (await phone.socket.ping())
        assert it.pids[2] == before[2]
        async with Phone(it.url, "after") as phone:  # the new one has the fewest
            await phone.start()
            await phone.say(tones("[300] badge [300]"))
            await phone.stop()
            await asyncio.to_thread(it.process.wait_for, f"(Final|Amended): badge call={phone.call_sid}")
        numbers = await it.numbers()
        assert numbers["fastcall_calls_live"] == 20 - len(lost)
        assert numbers["fastcall_calls_started_total"] >= 21 - len(lost)


async def test_what_one_worker_has_another_may_not(prompt_emulator: str) -> None:
    async with serving_workers(prompt_emulator, FASTCALL_STREAM_SECRET=SECRET) as it, Phone(it.url, "call") as phone:
        now = time.time()
        token = mint_token(SECRET, phone.call_sid, now=now, nonce="0" * 32)
        other = mint_token(SECRET, phone.call_sid, now=now, nonce="1" * 32)
        await phone.start({PARAMETER: token})
        assert await it.number("fastcall_calls_live", 1) == 1
        for given, why in ((other, "already has a socket"), (token, "token_used")):
            async with Phone(it.url, "call") as thief, on_the_line(phone):
                await thief.start({PARAMETER: given})  # at the other worker: this one has a call
                code, text = await thief.closed()
            assert code == 1008
            assert why in (text or "")
        await phone.say(tones("[300] apple [300]"))
        await phone.stop()
        await asyncio.to_thread(it.process.wait_for, f"(Final|Amended): apple call={phone.call_sid}")


@pytest.mark.parametrize("how", ["stop", "close"])
async def test_a_call_that_comes_back_to_another_worker_goes_on_as_one_call(how: str, prompt_emulator: str) -> None:
    async with (
        serving_workers(prompt_emulator) as it,
        reading(it.port) as reader,
        phones(it.url) as (old, new),
    ):
        records = Records(reader)
        await old.start()
        await old.say(tones("[300] apple [700]"))
        await records.wait_for("MZold", "utterance_end")
        await new.start()  # at the other worker: this one has a call
        await (await new.socket.ping())  # its start has been read by whoever has it now
        await new.say(tones("[100]"))
        if how == "stop":
            with contextlib.suppress(ConnectionClosed):  # on a slow machine it has been silent for so long already
                await old.stop()
            assert await old.closed() == (1000, "the call continues on another stream")
        else:
            await old.socket.close()
        moved = await records.wait_for("MZnew", "call_moved")
        assert moved["previous_stream_sid"] == "MZold"
        await new.say(tones("[300] arrow [700]"))
        await records.wait_for("MZnew", "utterance_end")
        if sys.platform == "linux":
            await until_so(lambda: it.has_sockets([1, 0]))
        assert (await it.numbers())["fastcall_calls_live"] == 1
        await new.stop()
        await records.wait_for("MZnew", "call_ended")
        numbers = await it.numbers()
    assert (records.texts("MZold"), records.texts("MZnew")) == (["apple"], ["arrow"])
    assert records.events("MZold").count("call_started") == 1
    assert "call_started" not in records.events("MZnew")
    assert [numbers[f"fastcall_calls_{name}_total"] for name in ("started", "moved", "ended")] == [1, 1, 1]
    assert numbers["fastcall_calls_live"] == 0
    refused = [name for name in numbers if name.startswith("fastcall_calls_refused_total") and numbers[name]]
    assert refused == []


async def test_a_call_that_comes_back_to_another_worker_is_refused_while_the_older_stream_goes_on(
    prompt_emulator: str,
) -> None:
    async with (
        serving_workers(prompt_emulator) as it,
        reading(it.port) as reader,
        phones(it.url) as (old, new),
    ):
        records = Records(reader)
        await old.start()
        await records.wait_for("MZold", "session_started")
        await new.start()
        async with on_the_line(old):
            code, reason = await new.closed()
        assert (code, (reason or "")[:30]) == (1008, "this call already has a socket")
        await old.say(tones("[300] apple [700]"))
        await records.wait_for("MZold", "utterance_end")
        numbers = await it.numbers()
        # Begun twice if the other worker had not heard of the older one when the newer came; one goes on.
        assert numbers["fastcall_calls_live"] == 1
        assert numbers['fastcall_calls_refused_total{reason="second_socket"}'] == 1
    assert records.texts("MZnew") == []


async def test_a_stream_that_was_too_loud_before_its_start_is_a_call_of_its_own_at_another_worker(
    prompt_emulator: str,
) -> None:
    async with (
        serving_workers(prompt_emulator) as it,
        reading(it.port) as reader,
        phones(it.url) as (old, new),
    ):
        records = Records(reader)
        await old.start()
        await records.wait_for("MZold", "session_started")
        await new.socket.send(json.dumps({"event": "connected", "protocol": "x" * 60_000}))
        await new.start()
        await records.wait_for("MZnew", "session_started")
        await old.stop()
        await new.say(tones("[300] apple [700]"))
        await records.wait_for("MZold", "call_ended")
        await records.wait_for("MZnew", "utterance_end")
        assert await it.number("fastcall_calls_live", 1) == 1
        numbers = await it.numbers()
        assert numbers["fastcall_calls_moved_total"] == 0
        assert numbers.get('fastcall_calls_refused_total{reason="second_socket"}') is None
        assert new.socket.close_code is None


async def test_a_call_that_was_revoked_is_forgotten(prompt_emulator: str) -> None:
    async with (
        serving_workers(prompt_emulator, FASTCALL_STREAM_SECRET=SECRET) as it,
        phones(it.url) as (phone, thief),
    ):
        token = mint_token(SECRET, phone.call_sid, now=time.time(), nonce="0" * 32)
        await phone.start({PARAMETER: token})
        assert await it.number("fastcall_calls_live", 1) == 1
        # Another stream of the call, at the second worker, which does not know that the token is spent.
        await thief.start({PARAMETER: token, "fastcall_stream": "monitor"})
        code, reason = await thief.closed()
        assert (code, "token_used" in (reason or "")) == (1008, True)
        os.kill(it.pids[2], signal.SIGKILL)
        await asyncio.to_thread(it.process.wait_for, r"worker 2 was killed by signal 9; 0 calls lost")


async def test_places_are_counted_together(prompt_emulator: str) -> None:
    async with serving_workers(prompt_emulator, "--max-calls", "2") as it, contextlib.AsyncExitStack() as stack:
        for number in range(2):
            phone = await stack.enter_async_context(Phone(it.url, f"place {number}"))
            await phone.start()
        assert await it.number("fastcall_calls_live", 2) == 2
        with pytest.raises(InvalidStatus) as refused:
            await Phone(it.url, "too many").__aenter__()
        assert refused.value.response.status_code == 503
        assert (await ask(it.port, "/readyz")).status == 503


async def test_sigterm_to_all_closes_the_calls_of_all_with_their_last_words(prompt_emulator: str) -> None:
    async with serving_workers(prompt_emulator, popen=subprocess.Popen) as it, contextlib.AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(Phone(it.url, f"last {n}")) for n in range(6)]
        for phone in phones:
            await phone.start()
            await phone.say(tones("[300] apple arrow [100]"))
            await (await phone.socket.ping())
        for pid in it.pids.values():
            os.kill(pid, signal.SIGTERM)  # as an init system may, to all processes at once
        it.process.send_signal(signal.SIGTERM)
        codes = [await phone.closed() for phone in phones]
        assert await asyncio.to_thread(it.process.wait) == 0
    assert [code for code, _ in codes] == [1012] * 6
    for phone in phones:
        # The text is committed in time, and amended where the recognizer needs longer.
        last_words = rf"(Final|Amended): apple arrow call={phone.call_sid}\b"
        assert any(re.search(last_words, line) for line in it.process.lines)
    assert not any("died" in line or "lost" in line for line in it.process.lines)
    assert it.process.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["--workers", "0"], {}, "--workers"),
        (["--workers", "many"], {}, "--workers"),
        (["--workers", "2"], {}, "embedded recognizer"),
        (["--workers", "2", "--tls-cert", "x"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "--tls-cert"),
        (["--workers", "2"], {"GOOGLE_APPLICATION_CREDENTIALS": "/no/such.json"}, "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_what_cannot_work_with_workers_is_refused(arguments: list[str], variables: dict[str, str], says: str) -> None:
    result = forkserver.run(
        [sys.executable, "-m", "fastcall", "serve", "--port", "0", *arguments],
        env=serve_environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert result.returncode == 2
    assert says in result.stderr
