"""An agent that asks a language model, and speaks each sentence as soon as the model has written it.

    OPENAI_BASE_URL=http://127.0.0.1:11434/v1 LLM_MODEL=llama3.2 PYTHONPATH=examples fastcall serve --handler llm:agent

Any API that streams chat completions as OpenAI's does will do: OpenAI, llama.cpp, vLLM, Ollama. The voice is espeak-ng
if it is installed, else (or with SPEECH_MODEL set) the same API's /audio/speech. When the caller breaks in, the model
is told what was heard, not what was written. With SPECULATE_AFTER_MS=150 it is asked before the words are certain.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from fastcall import Call, Speech, Turn
from voices import EspeakVoice, SpeechApi, Voice

PROMPT = "You are on the telephone. Answer in one to three short sentences, without lists or symbols."
TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=20)
MAX_MESSAGES = 40
MAX_SENTENCE_CHARS = 400

SENTENCE = re.compile(r"\s*(.+?[.!?…:;]+[\"')]*)(?=\s)", re.DOTALL)


async def sentences(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """Whole sentences of a text that comes in pieces; the last may have no end."""
    text = ""
    async for piece in pieces:
        text += piece
        while found := SENTENCE.match(text):
            yield found[1]
            text = text[found.end() :]
        if len(text) > MAX_SENTENCE_CHARS:
            yield text.strip()
            text = ""
    if text.strip():
        yield text.strip()


class Model:
    """``POST {base}/chat/completions`` with ``stream: true``: server-sent events."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self._url = f"{base_url}/chat/completions"
        self._name = os.environ.get("LLM_MODEL", "gpt-4o-mini")

    async def write(self, messages: list[dict[str, str]]) -> AsyncIterator[str]:
        """The answer, as it comes."""
        body: dict[str, Any] = {"model": self._name, "messages": messages, "stream": True}
        async with self._http.post(self._url, json=body, raise_for_status=True) as response:
            async for line in response.content:
                kind, _, data = line.decode().strip().partition(":")
                if kind != "data":
                    continue  # comments keep the connection alive, empty lines end an event
                if data.strip() == "[DONE]":
                    return
                for choice in json.loads(data).get("choices", ()):
                    yield choice.get("delta", {}).get("content") or ""


class Conversation:
    """One call's: what was said, and what of the answers was heard."""

    def __init__(self, call: Call, model: Model, voice: Voice) -> None:
        self._call = call
        self._model = model
        self._voice = voice
        self._messages: list[dict[str, str]] = []

    async def reply(self, turn: Turn) -> None:
        """Answer one utterance, sentence by sentence; cancelled when the caller breaks in."""
        asked = {"role": "user", "content": turn.text}
        said: list[Speech] = []
        try:
            messages = [{"role": "system", "content": PROMPT}, *self._messages[-MAX_MESSAGES:], asked]
            async for sentence in sentences(self._model.write(messages)):
                said.append(self._say(sentence))
            await turn.wait_committed()
            for speech in said:
                await speech
        finally:
            if turn.is_committed:
                heard = [(await speech).text for speech in said if speech.is_done]
                answered = {"role": "assistant", "content": " ".join(filter(None, heard)) or "(interrupted)"}
                self._messages += [asked, answered]

    def _say(self, text: str) -> Speech:
        voice = self._voice
        return self._call.say(voice.speak(text), text=text, encoding="pcm", rate_hz=voice.rate_hz)


async def agent(call: Call) -> None:
    """The handler of one call."""
    base_url = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/")
    key = os.environ.get("OPENAI_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession(headers=headers, timeout=TIMEOUT) as http:
        wants_api = os.environ.get("SPEECH_MODEL") or not EspeakVoice.is_installed()
        voice: Voice = SpeechApi(http, base_url) if wants_api else EspeakVoice()
        await call.answer(Conversation(call, Model(http, base_url), voice).reply)
