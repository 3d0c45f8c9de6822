"""The recognizer is away for long: who hears the calls meanwhile, and do the events and the numbers tell it?"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from prometheus_client.parser import text_string_to_metric_families

from fastcall.fallbacks import start_fallback
from fastcall.ports import Fallback
from fastcall.recognition.callable_fallback import FallbackFunction
from fastcall.settings import Settings
from fastcall.whisper.engine import EngineOptions
from fastcall.whisper.pool import WhisperFallback
from peers import Served, ask

__all__ = ["TONES_MODEL", "OutageWatch", "judge_call", "judge_numbers", "numbers_of", "whisper_of_tones"]

TESTS = Path(__file__).resolve().parents[1]
TONES_MODEL = "tones"
"""``WHISPER_MODEL`` of servers whose Whisper is to hear the tones language."""

Record = dict[str, Any]
Numbers = dict[str, float]


@contextlib.contextmanager
def whisper_of_tones() -> Iterator[None]:
    """Servers that are started now, with the model ``TONES_MODEL``, have a Whisper worker whose engine hears tones: a
    real process of the real pool, behind the real session; only what weighs the sound is another."""

    async def start(settings: Settings, own: FallbackFunction | None, language: str) -> Fallback | None:
        if settings.whisper_model != TONES_MODEL:
            return await start_fallback(settings, own, language)
        fallback = WhisperFallback(EngineOptions(TONES_MODEL), language=language, engine="stub_engines:Tones")
        await fallback.start()
        return fallback

    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    with patch.dict(os.environ, PYTHONPATH=path), patch("fastcall.server.call_manager.start_fallback", start):
        yield


class OutageWatch:
    """Notes when the recognizer was away, and what the server's numbers were in the middle of it and in the end."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.back_at = 0.0
        """In Unix time, as the events are."""
        self.within: Numbers = {}
        self.after: Numbers = {}

    async def look_within(self) -> None:
        """It is away."""
        self.within = await self._numbers()

    def note_back(self) -> None:
        """It is started again."""
        self.back_at = time.time()

    async def look_after(self) -> None:
        """The calls are over."""
        self.after = await self._numbers()

    async def _numbers(self) -> Numbers:
        return numbers_of((await ask(self._served.port, "/metrics")).body)

    def judge(self, call_sids: Sequence[str], *, at_least: int) -> list[str]:
        """What is wrong with it, in words.

        :param at_least: so many utterances must come from the fallback
        """
        records = [self._served.transcripts.of(call_sid) for call_sid in call_sids]
        problems = [problem for call in records for problem in judge_call(call, self.back_at)]
        committed = [each for call in records for each in call if each["event"] == "utterance_end"]
        by_whisper = sum(each["source"] == "whisper" and bool(each["text"]) for each in committed)
        if by_whisper < at_least:
            problems.append(f"only {by_whisper} utterances came from the fallback, not {at_least}")
        return problems + judge_numbers(self.within, self.after, calls=len(call_sids), by_whisper=by_whisper)


def numbers_of(metrics: str) -> Numbers:
    """The samples of Prometheus' text format: ``name`` or ``name label`` to value."""
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }


def judge_call(records: Sequence[Record], back_at: float) -> list[str]:
    """What one call's events say that they should not. ``back_at``: when the recognizer was started again."""
    failed = [each["at"] for each in records if each["event"] == "session_failed"]
    if not failed:
        return ["no event tells of the outage"]
    begun = {each["utterance_id"]: each["at"] for each in records if each["event"] == "utterance_begin"}
    ends = [each for each in records if each["event"] == "utterance_end" and each["text"]]
    within = [end for end in ends if begun[end["utterance_id"]] > failed[0] and end["at"] < back_at]
    problems = [
        f"utterance {end['utterance_id']} of the outage comes from {end['source']}"
        for end in within
        if end["source"] != "whisper"
    ]
    returned = [e["at"] for e in records if e["event"] == "session_rotated" and e["text"] == "reconnect"]
    if not returned or returned[-1] < back_at:
        return [*problems, "no event tells that the recognizer serves again"]
    asked = {e["utterance_id"] for e in records if e["event"] == "fallback" and e["text"] == "outage"}
    silent = {end["utterance_id"] for end in ends if end["source"] == "whisper"} - asked
    problems += [f"no event tells that the fallback was asked for utterance {each}" for each in sorted(silent)]
    if ends[-1]["source"] != "emulator" or ends[-1]["at"] < returned[-1]:
        problems.append("after the outage the recognizer does not serve")
    return problems


def judge_numbers(within: Numbers, after: Numbers, *, calls: int, by_whisper: int) -> list[str]:
    """What ``/metrics`` says that it should not."""
    wanted = [
        ("in the outage", within, "fastcall_calls_interrupted", calls, calls),
        ("in the outage", within, "fastcall_session_failures_total UNAVAILABLE", calls, None),
        ("after it", after, "fastcall_calls_interrupted", 0, 0),
        ("after it", after, "fastcall_rotations_total reconnect", calls, None),
        ("after it", after, "fastcall_utterances_total whisper", by_whisper, by_whisper),
        ("after it", after, "fastcall_fallbacks_total outage", by_whisper, None),
    ]
    return [
        f"/metrics {when}: {name} is {numbers.get(name, 0.0):g}, not {low}{'' if high is not None else ' or more'}"
        for when, numbers, name, low, high in wanted
        if not low <= numbers.get(name, 0.0) <= (high if high is not None else float("inf"))
    ]
