"""The examples of handlers, run as people run them: real sockets, a real recognizer, a local server as the model."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from fastcall._codec import mulaw_decode, mulaw_encode
from fastcall.agent.call import Call
from fastcall.demo.voice import load_prompts
from fastcall.metrics import Metrics
from fastcall.settings import Settings
from fastcall.simulator import ListeningCaller
from fastcall.simulator.scripted_caller import Sentence
from llm import sentences
from peers import PATIENCE_S, Phone, serving, tones
from voices import EspeakVoice


class Api:
    """A model's API that behaves like OpenAI's: server-sent events, cut where it likes, and speech as PCM at 24 kHz."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.spoken: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/v1/audio/speech", self._speak)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer secret"
        body = await request.json()
        self.asked.append(body)
        assert (body["model"], body["stream"]) == ("small", True)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": keep-alive\r\n\r\n")
        await response.write(event({"role": "assistant", "content": ""}))
        for piece in ("You sa", "id ", body["messages"][-1]["content"], ". I wi"):
            await response.write(event({"content": piece}))
        await self.go_on.wait()
        data = event({"content": "ll think about it for a long while"}) + event({}) + b"data: [DONE]\n\n"
        for at in range(0, len(data), 7):
            await response.write(data[at : at + 7])
        return response

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        assert body["response_format"] == "pcm"
        self.spoken.append(body["input"])
        at = np.arange(24_000 * len(body["input"]) // 20) / 24_000
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write((8000 * np.sin(2 * np.pi * 440 * at)).astype("<i2").tobytes())
        return response


def event(delta: dict[str, str]) -> bytes:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n".encode()


@pytest.fixture
def model_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in (("OPENAI_API_KEY", "secret"), ("LLM_MODEL", "small"), ("SPEECH_MODEL", "tts")):
        monkeypatch.setenv(name, value)
    return monkeypatch


async def test_a_model_is_heard_sentence_by_sentence_and_told_what_was_heard(
    prompt_emulator: str, model_environment: pytest.MonkeyPatch
) -> None:
    api = Api()
    api.go_on.clear()
    spoken = [Sentence("apple arrow", tones("apple arrow")), Sentence("badge", tones("badge"), 2.0)]
    async with api.serve() as base_url:
        model_environment.setenv("OPENAI_BASE_URL", base_url)
        async with serving(prompt_emulator, handler="llm:agent") as served:
            caller = ListeningCaller(served.url, spoken, speaks_first=True)
            call, sid = asyncio.create_task(caller.run()), caller.report.ids.call_sid
            first = await served.transcripts.wait_for(sid, "agent_audio")
            assert first["text"] == "You said apple arrow."
            api.go_on.set()
            interrupted = await served.transcripts.wait_for(sid, "barge_in")
            await served.transcripts.wait_for(sid, "first_response", 2)
            caller.hang_up()
            report = await call
            assert report.ok
            await served.transcripts.wait_for(sid, "call_ended")
    assert api.spoken[:2] == ["You said apple arrow.", "I will think about it for a long while"]
    assert interrupted["text"].startswith("You said apple arrow. I will")
    assert not interrupted["text"].endswith("while")
    assert [message["role"] for message in api.asked[1]["messages"]] == ["system", "user", "assistant", "user"]
    told = [message["content"] for message in api.asked[1]["messages"][1:]]
    assert told == ["apple arrow", interrupted["text"], "badge"]


async def test_an_api_that_refuses_ends_the_agent_only(
    prompt_emulator: str, model_environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model_environment.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    async with serving(prompt_emulator, handler="llm:agent") as served, Phone(served.url, "refused") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple [900]"))
        await served.transcripts.wait_for(phone.call_sid, "utterance_end")
        await phone.speak(tones("[300] badge [900]"))
        assert await served.hang_up(phone) == ["apple", "badge"]
    assert caplog.text.count("the handler failed") == 1


async def test_spokenare_told_as_soon_as_they_are_whole() -> None:
    async def pieces() -> AsyncIterator[str]:
        for piece in ("Hello", " there.", " It is 3.50 euros, is it not? Ye", "s! ", "And the rest"):
            yield piece

    found = [sentence async for sentence in sentences(pieces())]
    assert found == ["Hello there.", "It is 3.50 euros, is it not?", "Yes!", "And the rest"]


async def test_echo_says_back_what_it_has_heard(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, handler="echo:agent") as served, Phone(served.url, "echo") as phone:
        await phone.start()
        spoken = tones("[300] apple arrow [900]")
        await phone.speak(spoken)
        end = await served.transcripts.wait_for(phone.call_sid, "utterance_end")
        wanted = spoken[8 * end["start_ms"] : 8 * end["end_ms"]]
        assert len(wanted) > 4000
        assert await listen(phone, len(wanted)) == mulaw_encode(mulaw_decode(wanted))
        await phone.socket.send(phone.messages.dtmf("1"))
        assert await listen(phone, len(wanted)) == mulaw_encode(mulaw_decode(wanted))
        await phone.socket.send(phone.messages.dtmf("#"))
        assert await phone.closed() == (1000, "the handler hung up")


async def listen(phone: Phone, size: int) -> bytes:
    """So much of what is played, its marks echoed."""
    heard = b""
    async with asyncio.timeout(PATIENCE_S):
        while len(heard) < size:
            message = json.loads(await phone.socket.recv())
            if message["event"] == "media":
                heard += base64.b64decode(message["media"]["payload"])
            elif message["event"] == "mark":
                await phone.socket.send(phone.messages.mark(message["mark"]["name"]))
    return heard


@pytest.mark.parametrize("has_espeak", [False, True])
async def test_the_booking_agent_greets_with_the_voice_that_there_is(
    prompt_emulator: str, has_espeak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_espeak and not EspeakVoice.is_installed():
        pytest.skip("espeak-ng is not installed; it is optional (Debian: espeak-ng)")
    monkeypatch.setattr(EspeakVoice, "is_installed", staticmethod(lambda: has_espeak))
    async with serving(prompt_emulator, handler="booking:agent") as served, Phone(served.url, "booking") as phone:
        await phone.start()
        await phone.speak(tones("[100]"))
        heard = await listen(phone, 8000)
        audio = await served.transcripts.wait_for(phone.call_sid, "agent_audio")
        # A client whose messages nobody reads does not see the end of the handshake that closes.
        phone.socket.transport.abort()
        await served.transcripts.wait_for(phone.call_sid, "call_ended")
    assert audio["text"] == "riverside restaurant, good evening. how can i help you?"
    assert (load_prompts()["greeting"].mulaw.startswith(heard[:1600])) is not has_espeak
    assert np.abs(np.frombuffer(mulaw_decode(heard), "<i2").astype(int)).max() > 2000


DOCUMENT = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")


def test_the_document_names_what_there_is() -> None:
    for block in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL):
        compile(block, "docs/agents.md", "exec")
    assert set(re.findall(r"\bcall\.(\w+)", DOCUMENT)) <= set(dir(Call)) | {"state", "machine_detected", "beep_heard"}
    settings = {item.metadata["env"] for item in fields(Settings)}
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", DOCUMENT)) <= settings
    named = {name.removesuffix("_total") for name in re.findall(r"fastcall_(\w+)", DOCUMENT)}
    assert named - {"stream"} <= set(Metrics().snapshot())  # that one is a parameter of the TwiML
