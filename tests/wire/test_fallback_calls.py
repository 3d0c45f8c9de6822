"""Calls whose recognizer is away, or is not wanted: what the fallback hears, and how the recognizer comes back."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import fastcall.server.call_manager
import stub_engines
from fastcall import StreamingSTTSession, UtteranceDispatcher
from fastcall.audio.tones import synthesize
from fastcall.errors import UsageError
from fastcall.ports import Fallback
from fastcall.settings import Settings
from fastcall.whisper.engine import EngineOptions
from fastcall.whisper.pool import WhisperFallback
from peers import PATIENCE_S, Phone, Process, Served, serving, start_emulator, tones, words_of_call

TESTS = Path(__file__).resolve().parents[1]
SHARED = TESTS.parents[1] / "shared"
PROMPT = ("--final-delay-s", "0", "--rewrite-rate", "0")


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of this test have a Whisper worker that hears tones."""

    async def start(*_: object) -> Fallback:
        fallback = WhisperFallback(EngineOptions("stub"), language="en-US", engine="stub_engines:Tones")
        await fallback.start()
        return fallback

    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setattr(fastcall.server.call_manager, "start_fallback", start)


class Talk:
    """A caller who says sentence after sentence, and what the server makes of each."""

    def __init__(self, phone: Phone, served: Served) -> None:
        self.phone, self.transcripts = phone, served.transcripts
        self.said: list[str] = []

    async def say(self) -> dict[str, Any]:
        """One sentence at the pace of speech, and the pause after it; returns its ``utterance_end``."""
        text = " ".join(words_of_call(3, 3, start=3 * len(self.said)))
        self.said.append(text)
        await self.phone.speak(tones(f"[100] {text} [1000]"))
        return await self.transcripts.wait_for(self.phone.call_sid, "utterance_end", len(self.said))

    def of(self, *events: str) -> list[dict[str, Any]]:
        return self.transcripts.of(self.phone.call_sid, *events)


async def test_utterances_of_an_outage_come_from_the_fallback_and_then_the_recognizer_serves_again(
    whisper: None,
) -> None:
    first = await asyncio.to_thread(start_emulator, *PROMPT)
    second: Process | None = None
    try:
        async with serving(first.ready[1]) as served, Phone(served.url) as phone:
            talk = Talk(phone, served)
            await phone.start()
            assert (await talk.say())["source"] == "emulator"
            await served.transcripts.wait_for(phone.call_sid, "final")
            first.send_signal(signal.SIGKILL)
            await served.transcripts.wait_for(phone.call_sid, "session_failed")
            in_the_outage = [await talk.say() for _ in range(2)]
            port = int(first.ready[1].rpartition(":")[2])
            second = await asyncio.to_thread(start_emulator, *PROMPT, port=port)
            for _ in range(10):  # the back-off ends within 8 s
                if (await talk.say())["source"] == "emulator":
                    break
            last = await talk.say()
            await served.hang_up(phone)
    finally:
        for process in filter(None, (first, second)):
            await asyncio.to_thread(process.stop)
    assert [end["source"] for end in in_the_outage] == ["whisper"] * 2
    assert [end["text"] for end in in_the_outage] == talk.said[1:3]
    assert last["source"] == "emulator"
    # Once each, at their own utterances; what is final is final once.
    assert served.transcripts.utterances(phone.call_sid) == talk.said
    assert " ".join(record["text"] for record in talk.of("final")) == " ".join(talk.said)
    # The events tell it.
    by_whisper = {end["utterance_id"] for end in talk.of("utterance_end") if end["source"] == "whisper"}
    asked = talk.of("fallback")
    assert by_whisper <= {record["utterance_id"] for record in asked}
    assert {(record["text"], record["source"]) for record in asked} == {("outage", "whisper")}
    assert len(talk.of("session_failed")) == 1
    assert [record["text"] for record in talk.of("session_rotated")] == ["reconnect"]


@pytest.mark.parametrize("name", ["hear_tones", "hear_tones_async"])
async def test_without_streaming_every_utterance_is_recognized_whole(name: str) -> None:
    async with (
        serving(None, fallback=f"stub_engines:{name}", enable_streaming_stt=False) as served,
        Phone(served.url) as phone,
    ):
        talk = Talk(phone, served)
        await phone.start()
        ends = [await talk.say() for _ in range(2)]
        await phone.speak(tones("[100] apple arrow"))
        await phone.stop()  # in the last word: it is still heard
        await served.transcripts.wait_for(phone.call_sid, "call_ended")
    assert [(end["text"], end["source"]) for end in ends] == [(text, "fallback") for text in talk.said]
    assert served.transcripts.utterances(phone.call_sid) == [*talk.said, "apple arrow"]
    assert [record["text"] for record in talk.of("fallback")] == ["off"] * 3
    assert talk.of("session_failed", "session_rotated", "amended", "partial") == []
    (started,) = talk.of("session_started")
    assert started["source"] == "fallback"


async def test_an_answer_after_the_time_limit_amends() -> None:
    stub_engines.may_answer.clear()
    async with (
        serving(
            None,
            fallback="stub_engines:hear_tones_late",
            enable_streaming_stt=False,
            stt_fallback_timeout_ms=100,
        ) as served,
        Phone(served.url) as phone,
    ):
        talk = Talk(phone, served)
        await phone.start()
        assert (await talk.say())["text"] == ""
        stub_engines.may_answer.set()
        amended = await served.transcripts.wait_for(phone.call_sid, "amended")
        await served.hang_up(phone)
    assert (amended["utterance_id"], amended["text"], amended["source"]) == (1, talk.said[0], "fallback")


@pytest.mark.parametrize("handler", ["echo_texts", "reply_with_texts", "echo_texts_from_a_thread"])
async def test_words_after_the_time_limit_reach_the_handler(handler: str) -> None:
    stub_engines.may_answer.clear()
    async with (
        serving(
            None,
            fallback="stub_engines:hear_tones_late",
            enable_streaming_stt=False,
            stt_fallback_timeout_ms=100,
            handler=f"talkers:{handler}",
        ) as served,
        Phone(served.url) as phone,
    ):
        talk = Talk(phone, served)
        await phone.start()
        assert (await talk.say())["text"] == ""
        stub_engines.may_answer.set()
        async with asyncio.timeout(PATIENCE_S):
            message = json.loads(await phone.socket.recv())
        await served.hang_up(phone)
    assert message["mark"]["name"] == talk.said[0]


async def test_a_fallback_that_fails_is_told_and_the_utterance_is_committed_without_it() -> None:
    async with (
        serving(None, fallback="stub_engines:fail", enable_streaming_stt=False) as served,
        Phone(served.url) as phone,
    ):
        talk = Talk(phone, served)
        await phone.start()
        end = await talk.say()
        await served.hang_up(phone)
    assert end["text"] == ""
    asked, _again, failed = talk.of("fallback")
    assert asked["text"] == "off"
    assert failed["text"] == "failed: RuntimeError: the cloud is down"


async def test_a_dispatcher_on_a_threaded_session_has_the_fallback_as_well() -> None:
    settings = Settings(enable_streaming_stt=False, language="en-US")
    finals: list[str] = []
    session = await asyncio.to_thread(
        StreamingSTTSession, None, finals.append, settings=settings, fallback=stub_engines.hear_tones
    )
    dispatcher = UtteranceDispatcher(session)
    said = " ".join(words_of_call(1, 3))
    dispatcher.begin()
    session.push_audio(synthesize(f"[100] {said} [600]"))
    assert await asyncio.wait_for(dispatcher.end(silence_ms=500), PATIENCE_S) == said
    await asyncio.to_thread(session.close)
    assert finals == [said]


async def test_a_threaded_session_without_streaming_and_fallback_says_what_to_set() -> None:
    with pytest.raises(UsageError, match="WHISPER_MODEL"):
        await asyncio.to_thread(StreamingSTTSession, settings=Settings(enable_streaming_stt=False))


async def test_the_server_with_a_real_model(tmp_path: Path) -> None:
    """Of random weights: it writes letters, and whatever they are they are the utterance's."""
    pytest.importorskip("faster_whisper")
    tool = SHARED / "tools" / "tiny_whisper.py"
    if not tool.is_file():
        pytest.skip("the tool that builds a tiny model is not here")
    sys.path.insert(0, str(tool.parent))
    try:
        from tiny_whisper import build  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    model = tmp_path / "model"
    build(str(model))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "SPEECH_", "GCP_"))}
    process = await asyncio.to_thread(
        Process,
        ["serve", "--port", "0", "--whisper-model", str(model), "--transcripts", str(tmp_path / "t.ndjson")],
        ready=r"listening on (ws://\S+/media)",
        environ={**environ, "ENABLE_STREAMING_STT": "false", "HF_HUB_OFFLINE": "1", "WHISPER_THREADS": "1"},
    )
    try:
        async with Phone(process.ready[1]) as phone:
            await phone.start()
            await phone.speak(tones("[300] apple arrow autumn [800]"))
            await asyncio.to_thread(process.wait_for, "🟢 Final: [a-z]")
    finally:
        await asyncio.to_thread(process.stop)
    assert process.lines[0].endswith("[CFG] ENABLE_STREAMING_STT=False")
    assert any(re.search(r"the Whisper model \S+ is ready", line) for line in process.lines)
    assert '"source": "whisper"' in (tmp_path / "t.ndjson").read_text()


async def test_the_lack_of_a_fallback_is_told_once_when_it_matters(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastcall")
    async with serving("127.0.0.1:1") as served:
        for name in ("first", "second"):
            async with Phone(served.url, name) as phone:
                await phone.start()
                await served.transcripts.wait_for(phone.call_sid, "session_failed")
    assert [record.message for record in caplog.records if "WHISPER_MODEL" in record.message] == [
        "no fallback for utterances that the recognizer cannot serve: set WHISPER_MODEL to a Whisper model "
        "(pip install 'fastcall[whisper]'), or name your own function with --fallback module:callable"
    ]
