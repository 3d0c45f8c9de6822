"""A local call in which a caller books a table with an agent; the result is shown sentence by sentence."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise
from statistics import median
from typing import Any

import uvloop

from fastcall.agent.call import Call
from fastcall.agent.heard_text import heard_text
from fastcall.audio.tones import synthesize
from fastcall.audio.wav import read_wav
from fastcall.demo.agent import attend, say_prepared
from fastcall.demo.booking import answer
from fastcall.demo.sounds import cough, murmur, with_pause
from fastcall.demo.voice import Prompt, join, load_prompts
from fastcall.errors import UsageError
from fastcall.events import SAMPLES_PER_MS
from fastcall.server.app import ServeOptions, Server
from fastcall.server.embedded import EmbeddedRecognizer
from fastcall.server.output import LogOutput
from fastcall.settings import Settings
from fastcall.simulator import CallReport, ListeningCaller
from fastcall.simulator.scripted_caller import Sentence, Sound
from fastcall.wer import score, words

__all__ = [
    "Interruption",
    "Line",
    "Outcome",
    "choose_engine",
    "compare",
    "load_sentences",
    "render_interruptions",
    "render_table",
    "run_demo",
]

END_TIMEOUT_S = 15.0
MAX_RESPONSE_MS = 1200
# Tolerance between the server's position of played audio and the phone's.
HEARD_TOLERANCE_MS = 100

# The caller interrupts the agent's third sentence.
BREAKS_IN = 2
BREAKS_IN_AFTER_S = 1.7

# The caller coughs, and says "mhm", while the agent speaks before these sentences, and hesitates within one.
SOUNDS = {1: (Sound(0.6, cough()),), 4: (Sound(1.5, murmur()),)}
HESITATES, HESITATES_AT_MS, HESITATES_FOR_MS = 1, 600, 500
# The demo's grammar would find words in a cough.
MIN_SPEECH_S = 0.6

# Words of test tones have no meaning: each sentence of tones stands for one of the bundled conversation.
TONES = {
    "apple arrow autumn badge": "hello i would like to book a table",
    "bamboo basket butter": "there will be four people",
    "cabin camera candle apple arrow": "on friday at eight in the evening",
    "badge bamboo": "my name is michael",
    "butter cabin camera candle": "yes that is right",
    "arrow badge": "that is all goodbye",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of the caller, and its position in the call."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one line. Times in ms; None: nothing was received."""

    line: Line
    recognized: str
    partials: int
    partial_gaps_ms: tuple[float, ...]
    commit_ms: float | None
    """From the end of speech to the committed text."""
    response_ms: float | None = None
    """From the end of speech to the first audio of the reply, as received by the phone."""

    @property
    def right(self) -> bool:
        """Whether the recognized words are those said."""
        return words(self.recognized) == words(self.line.text)


@dataclass(frozen=True, slots=True)
class Interruption:
    """The barge-in, as seen by the phone and as reported to the agent."""

    clear_ms: float
    """From the caller's first speech frame to ``clear``."""
    played_ms: int
    heard_text: str
    prompt: Prompt

    @property
    def right(self) -> bool:
        """Whether the reported words are those that were played, within 0.1 s."""
        at = [self.played_ms - HEARD_TOLERANCE_MS, self.played_ms, self.played_ms + HEARD_TOLERANCE_MS]
        return self.heard_text in [_words_until(self.prompt, ms) for ms in at]


def _words_until(prompt: Prompt, ms: int) -> str:
    ends = [SAMPLES_PER_MS * end for end in prompt.word_ends_ms]
    return heard_text(prompt.text, SAMPLES_PER_MS * ms, total_samples=len(prompt.mulaw), word_ends=ends)


async def tones_agent(call: Call) -> None:
    """The booking agent, for a caller who speaks in tones."""
    await attend(call, say_prepared, understand=lambda booking, text: answer(booking, TONES.get(text, text)))


def choose_engine(wanted: str) -> tuple[str, str | None]:
    """The engine to use, and a note if it is not the expected one.

    :raises UsageError: PocketSphinx was requested and is not installed
    """
    if wanted == "tones":
        return "tones", None
    if importlib.util.find_spec("pocketsphinx") is not None:
        return "pocketsphinx", None
    if wanted == "pocketsphinx":
        raise UsageError("PocketSphinx is not installed: run pip install 'fastcall[emulator]', or use --engine tones")
    return "tones", "PocketSphinx has no wheel for this Python: the caller speaks in test tones instead of words."


def load_sentences(engine: str) -> tuple[Sentence, ...]:
    """The sentences of the bundled conversation, or as many in tones."""
    if engine == "pocketsphinx":
        data = resources.files("fastcall") / "data"
        audio = read_wav((data / "booking.wav").read_bytes())
        rows = (data / "booking.tsv").read_text(encoding="utf-8").splitlines()
        fields = [row.split("\t") for row in rows if row[:1].isdigit()]
        spoken = [(text.strip(), audio[8 * int(start) : 8 * int(end)]) for start, end, text in fields]
        text, mulaw = spoken[HESITATES]
        spoken[HESITATES] = text, with_pause(mulaw, HESITATES_AT_MS, HESITATES_FOR_MS)
    else:
        spoken = [(text, synthesize(text, encoding="mulaw")) for text in TONES]
    return tuple(
        Sentence(text, mulaw, BREAKS_IN_AFTER_S if number == BREAKS_IN else None, SOUNDS.get(number, ()))
        for number, (text, mulaw) in enumerate(spoken)
    )


def compare(
    lines: Sequence[Line], events: list[dict[str, Any]], began_at: float, responses_ms: Sequence[float | None] = ()
) -> list[Outcome]:
    """The result of each line.

    :param events: the transcript stream's events
    :param began_at: Unix time of the call's first frame
    :param responses_ms: each line's time to the reply, as measured by the phone
    """
    spans = {e["utterance_id"]: e for e in events if e["event"] == "utterance_end"}
    texts = {e["utterance_id"]: e["text"] for e in events if e["event"] in ("utterance_end", "amended")}
    outcomes = []
    for number, line in enumerate(lines):
        mine = [i for i, e in spans.items() if e["start_ms"] < line.end_ms and e["end_ms"] > line.start_ms]
        partial_at = [e["at"] for e in events if e["event"] == "partial" and e["utterance_id"] in mine]
        ends_at = [spans[i]["at"] for i in mine]
        outcomes.append(
            Outcome(
                line,
                " ".join(texts[i] for i in mine if texts[i]),
                len(partial_at),
                tuple(1000 * (b - a) for a, b in pairwise(partial_at)),
                1000 * (max(ends_at) - began_at) - line.end_ms if ends_at else None,
                responses_ms[number] if number < len(responses_ms) else None,
            )
        )
    return outcomes


def render_table(outcomes: list[Outcome], extra: list[str]) -> list[str]:
    """The table, as lines of text.

    :param extra: texts recognized where nothing was said
    """
    width = max(len(o.line.text) for o in outcomes)
    other = max([len("recognized"), *(len(o.recognized) for o in outcomes)])
    table = ["", f"{'said':{width}}  {'recognized':{other}}  partials  committed after  answered after"]
    for o in outcomes:
        mark = "" if o.right else "   <- WRONG"
        mark += "" if _is_quick(o) else "   <- TOO LATE"
        times = f"{_ms(o.commit_ms):>15}  {_ms(o.response_ms):>14}"
        table.append(f"{o.line.text:{width}}  {o.recognized:{other}}  {o.partials:8}  {times}{mark}")
    table += [f"{'(nothing)':{width}}  {text}   <- WRONG" for text in extra]
    gaps = [gap for o in outcomes for gap in o.partial_gaps_ms]
    if gaps:
        table += ["", f"partials: every {median(gaps):.0f} ms (median), never closer than {min(gaps):.0f} ms"]
    for name, times_ms in (
        ("committed text", [o.commit_ms for o in outcomes]),
        ("first response", [o.response_ms for o in outcomes]),
    ):
        known = [ms for ms in times_ms if ms is not None]
        if known:
            table.append(
                f"{name}: {median(known):.0f} ms (median) after the end of speech, at most {max(known):.0f} ms "
                "(including the silence that detects it)"
            )
    scores = [score(o.line.text, o.recognized) for o in outcomes] + [score("", text) for text in extra]
    table.append(
        f"words: {sum(s.said for s in scores)} said, {sum(s.wrong for s in scores)} wrong, "
        f"{sum(s.missing for s in scores)} missing, {sum(s.extra for s in scores)} too many"
    )
    right = sum(o.right for o in outcomes)
    verdict = "all right" if right == len(outcomes) and not extra else "NOT all right"
    quick = sum(map(_is_quick, outcomes))
    return [
        *table,
        f"{quick} of {len(outcomes)} answers within {MAX_RESPONSE_MS} ms",
        f"{right} of {len(outcomes)} sentences word for word: {verdict}",
    ]


def _is_quick(outcome: Outcome) -> bool:
    return outcome.response_ms is not None and outcome.response_ms < MAX_RESPONSE_MS


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def render_interruptions(found: Sequence[Interruption]) -> list[str]:
    """The report on barge-ins; there should be exactly one."""
    if len(found) != 1:
        return [f"barge-in: {len(found)} times   <- WRONG, expected 1"]
    (one,) = found
    return [
        f"barge-in: clear {one.clear_ms:.0f} ms after the caller's first speech; the phone had played "
        f"{one.played_ms} ms, the agent got {one.heard_text!r}{'' if one.right else '   <- WRONG'}"
    ]


def render_turns(events: Sequence[dict[str, Any]]) -> list[str]:
    """What the agent made of the sounds, and of the pause."""
    taken_back = sum(event.get("state") == "resumed" for event in events)
    turns = sum(event["event"] == "utterance_end" and bool(event["text"]) for event in events)
    times = "once" if taken_back == 1 else f"{taken_back} times"
    back = f"was stopped {times}, and went on in the same word" if taken_back else "did not stop"
    return [
        f"turns: at a cough and an 'mhm' the agent {back}; with a pause of {HESITATES_FOR_MS} ms in a sentence, "
        f"the caller took {turns} turns"
    ]


def _kept(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The barge-ins that were not taken back."""
    kept: list[dict[str, Any]] = []
    for event in events:
        if event["event"] == "barge_in":
            kept.append(event)
        elif event.get("state") == "resumed":
            kept.pop()
    return kept


@dataclass(frozen=True, slots=True)
class _Played:
    """The results of a call."""

    events: list[dict[str, Any]]
    report: CallReport
    caller: ListeningCaller


async def _place_call(engine: str, settings: Settings) -> _Played:
    events: list[dict[str, Any]] = []
    grammar = resources.files("fastcall") / "data" / "booking.gram"
    with resources.as_file(grammar) as path:
        recognizer = await EmbeddedRecognizer.start(
            engine, ["--grammar", str(path), "--min-speech-s", str(MIN_SPEECH_S)] if engine == "pocketsphinx" else []
        )
    handler = "fastcall.demo.agent:agent" if engine == "pocketsphinx" else "fastcall.demo.run:tones_agent"
    options = ServeOptions(port=0, stt="emulator", stt_endpoint=recognizer.address, handler=handler)
    ended = asyncio.Event()

    def keep(line: str) -> None:
        events.append(json.loads(line))
        if events[-1]["event"] == "call_ended":
            ended.set()

    server = Server(settings, options, on_transcript=keep)
    try:
        port = await server.start()
        caller = ListeningCaller(f"ws://{options.host}:{port}{options.path}", load_sentences(engine))
        report = await caller.run()
        if report.error is None:
            try:
                async with asyncio.timeout(END_TIMEOUT_S):
                    await ended.wait()
            except TimeoutError:
                report.error = f"the server did not end the call within {END_TIMEOUT_S:.0f} s after the caller hung up"
    finally:
        await server.stop()
        await recognizer.stop()
    return _Played(events, report, caller)


def _interruptions(played: _Played) -> list[Interruption]:
    """The barge-ins that both sides noticed."""
    reported = _kept(played.events)
    seen = [said for said in played.caller.said if said.cleared_at is not None]
    prompt = join(load_prompts(), ("when",))
    return [
        Interruption(1000 * (said.cleared_at - said.began_at), said.played_ms, event["text"], prompt)
        for event, said in zip(reported, seen, strict=False)
        if said.cleared_at is not None
    ]


def run_demo(engine: str, settings: Settings, log_format: str = "text") -> tuple[bool, list[str]]:
    """Place the call.

    :return: whether every word, the response times and the barge-in were right; and the lines of the report
    """
    # The demo's caller cannot sign requests as Twilio does.
    settings = replace(settings, twilio_auth_token=None, twilio_auth_token_secondary=None, stream_secret=None)
    output = LogOutput(sys.stdout, log_format)
    try:
        played = uvloop.run(_place_call(engine, settings))
    finally:
        output.close()
    events, report, said = played.events, played.report, played.caller.said
    if report.first_frame_at is None or report.error or not said:
        return False, [f"the call failed: {report.error}"]
    began_at = time.time() - time.monotonic() + report.first_frame_at
    lines = [Line(each.sentence.text, each.start_ms, each.end_ms) for each in said]
    responses_ms = [None if s.answered_at is None else 1000 * (s.answered_at - s.ended_at) for s in said]
    outcomes = compare(lines, events, began_at, responses_ms)
    texts = {e["utterance_id"]: e for e in events if e["event"] in ("utterance_end", "amended")}
    extra = [
        e["text"]
        for e in texts.values()
        if e["text"] and not any(e["start_ms"] < o.line.end_ms and e["end_ms"] > o.line.start_ms for o in outcomes)
    ]
    found = _interruptions(played)
    table = render_table(outcomes, extra)
    table[-1:-1] = [*render_interruptions(found), *render_turns(events)]
    if not played.caller.is_done:
        table.append(f"the conversation ended after {len(said)} sentences: the agent did not answer   <- WRONG")
    is_right = all(o.right and _is_quick(o) for o in outcomes) and not extra and played.caller.is_done
    return is_right and len(found) == 1 and found[0].right, table
