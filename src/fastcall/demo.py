"""A call on this machine: server, recogniser and caller, and a table of what became of each sentence."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import time
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise
from statistics import median
from typing import Any

import uvloop

from fastcall.adapters.output import LogOutput
from fastcall.adapters.simulator import CallReport, TwilioCaller
from fastcall.app import ServeOptions, Server
from fastcall.embedded import EmbeddedRecognizer
from fastcall.errors import UsageError
from fastcall.rules.caller import PhoneAudio
from fastcall.rules.score import score, words
from fastcall.rules.tones import synthesize
from fastcall.rules.wav import read_wav
from fastcall.settings import Settings

__all__ = ["Line", "Outcome", "Script", "choose_engine", "compare", "render_table", "run_demo"]

MULAW_SILENCE = b"\xff"
LEAD_MS = 800
PAUSE_MS = 1400
TAIL_S = 2.5
END_TIMEOUT_S = 15.0

TONES_LINES = (
    "apple arrow autumn badge",
    "bamboo basket butter",
    "cabin camera candle apple arrow",
    "badge bamboo",
    "butter cabin camera candle",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of the caller's, and where in the call it is said."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Script:
    """What the caller says: mu-law audio at 8 kHz, its sentences, and the grammar that helps to recognise them."""

    audio: bytes
    lines: tuple[Line, ...]
    grammar: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one line. Times in ms; None where nothing came."""

    line: Line
    recognised: str
    partials: int
    partial_gaps_ms: tuple[float, ...]
    commit_ms: float | None
    """From the end of speech to the committed text."""

    @property
    def right(self) -> bool:
        """Whether the words are those that were said."""
        return words(self.recognised) == words(self.line.text)


def choose_engine(wanted: str) -> tuple[str, str | None]:
    """The engine to use, and a remark if it is not the one that a newcomer would expect.

    :raises UsageError: PocketSphinx was asked for by name and is not installed
    """
    if wanted == "tones":
        return "tones", None
    if importlib.util.find_spec("pocketsphinx") is not None:
        return "pocketsphinx", None
    if wanted == "pocketsphinx":
        raise UsageError("PocketSphinx is not installed: run pip install 'fastcall[emulator]', or use --engine tones")
    return "tones", "PocketSphinx has no wheel for this Python: the caller speaks in test tones instead of words."


def load_script(engine: str) -> Script:
    """The bundled conversation, or the same kind of call in tones."""
    if engine == "pocketsphinx":
        data = resources.files("fastcall") / "data"
        rows = (data / "booking.tsv").read_text(encoding="utf-8").splitlines()
        fields = [row.split("\t") for row in rows if row[:1].isdigit()]
        lines = tuple(Line(text.strip(), int(start), int(end)) for start, end, text in fields)
        with resources.as_file(data / "booking.gram") as grammar:
            return Script(read_wav((data / "booking.wav").read_bytes()), lines, str(grammar))
    audio, spoken = bytearray(MULAW_SILENCE * 8 * LEAD_MS), []
    for text in TONES_LINES:
        said = synthesize(text, encoding="mulaw")
        start_ms = len(audio) // 8
        audio += said
        spoken.append(Line(text, start_ms, len(audio) // 8))
        audio += MULAW_SILENCE * 8 * PAUSE_MS
    return Script(bytes(audio), tuple(spoken), None)


def compare(script: Script, events: list[dict[str, Any]], began_at: float) -> list[Outcome]:
    """What the transcript stream says of each line.

    :param events: the transcript stream
    :param began_at: Unix time of the call's first frame
    """
    spans = {e["utterance_id"]: e for e in events if e["event"] == "utterance_end"}
    texts = {e["utterance_id"]: e["text"] for e in events if e["event"] in ("utterance_end", "amended")}
    outcomes = []
    for line in script.lines:
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
            )
        )
    return outcomes


def render_table(outcomes: list[Outcome], extra: list[str]) -> list[str]:
    """The table, as lines of text.

    :param extra: texts that were recognised where nothing was said
    """
    width = max(len(o.line.text) for o in outcomes)
    other = max([len("recognised"), *(len(o.recognised) for o in outcomes)])
    table = ["", f"{'said':{width}}  {'recognised':{other}}  partials  committed after"]
    for o in outcomes:
        commit = "-" if o.commit_ms is None else f"{o.commit_ms:.0f} ms"
        mark = "" if o.right else "   <- WRONG"
        table.append(f"{o.line.text:{width}}  {o.recognised:{other}}  {o.partials:8}  {commit:>15}{mark}")
    table += [f"{'(nothing)':{width}}  {text}   <- WRONG" for text in extra]
    gaps = [gap for o in outcomes for gap in o.partial_gaps_ms]
    if gaps:
        table += ["", f"partials: every {median(gaps):.0f} ms (median), never closer than {min(gaps):.0f} ms"]
    commits = [o.commit_ms for o in outcomes if o.commit_ms is not None]
    if commits:
        table.append(
            f"committed text: {median(commits):.0f} ms (median) after the end of speech, at most {max(commits):.0f} ms "
            "(the silence that tells the end included)"
        )
    scores = [score(o.line.text, o.recognised) for o in outcomes] + [score("", text) for text in extra]
    table.append(
        f"words: {sum(s.said for s in scores)} said, {sum(s.wrong for s in scores)} wrong, "
        f"{sum(s.missing for s in scores)} missing, {sum(s.extra for s in scores)} too many"
    )
    right = sum(o.right for o in outcomes)
    verdict = "all right" if right == len(outcomes) and not extra else "NOT all right"
    return [*table, f"{right} of {len(outcomes)} sentences word for word: {verdict}"]


async def _place_call(engine: str, script: Script, settings: Settings) -> tuple[list[dict[str, Any]], CallReport]:
    events: list[dict[str, Any]] = []
    arguments = ["--grammar", script.grammar] if script.grammar else []
    recogniser = await EmbeddedRecognizer.start(engine, arguments)
    options = ServeOptions(port=0, stt="emulator", stt_endpoint=recogniser.address)
    ended = asyncio.Event()

    def keep(line: str) -> None:
        events.append(json.loads(line))
        if events[-1]["event"] == "call_ended":
            ended.set()

    server = Server(settings, options, on_transcript=keep)
    try:
        port = await server.start()
        caller = TwilioCaller(
            f"ws://{options.host}:{port}{options.path}", PhoneAudio(script.audio, tail_s=TAIL_S), keep_received=False
        )
        report = await caller.run()
        if report.error is None:
            try:
                async with asyncio.timeout(END_TIMEOUT_S):
                    await ended.wait()
            except TimeoutError:
                report.error = f"the server did not end the call within {END_TIMEOUT_S:.0f} s after the caller hung up"
    finally:
        await server.stop()
        await recogniser.stop()
    return events, report


def run_demo(engine: str, settings: Settings, log_format: str = "text") -> tuple[bool, list[str]]:
    """Place the call.

    :return: whether every word is right, and the table's lines
    """
    script = load_script(engine)
    # The caller of the demo is no Twilio: it can sign nothing.
    settings = replace(settings, twilio_auth_token=None, twilio_auth_token_secondary=None, stream_secret=None)
    output = LogOutput(sys.stdout, log_format)
    try:
        events, report = uvloop.run(_place_call(engine, script, settings))
    finally:
        output.close()
    if report.first_frame_at is None or report.error:
        return False, [f"the call did not go through: {report.error}"]
    began_at = time.time() - time.monotonic() + report.first_frame_at
    outcomes = compare(script, events, began_at)
    texts = {e["utterance_id"]: e for e in events if e["event"] in ("utterance_end", "amended")}
    extra = [
        e["text"]
        for e in texts.values()
        if e["text"] and not any(e["start_ms"] < o.line.end_ms and e["end_ms"] > o.line.start_ms for o in outcomes)
    ]
    return all(o.right for o in outcomes) and not extra, render_table(outcomes, extra)
