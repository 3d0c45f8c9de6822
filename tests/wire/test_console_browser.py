"""The console in a browser: a microphone that plays a recording, words on the page, an answer in the loudspeaker."""

from __future__ import annotations

import asyncio
import base64
import functools
import importlib.util
import json
import math
import re
import shutil
import wave
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fastcall import g711
from fastcall.audio.wav import read_wav
from fastcall.simulator.twilio_client import CallerMessages, CallIds
from fastcall.twilio.messages import parse_message
from peers import PATIENCE_S, Phone, Process, Served, serving, tones
from reference import clear_message, mark_message, media_message
from thoroughness import amount
from tone_talker import TONE_HZ, TONE_MS, tone

playwright = pytest.importorskip("playwright.async_api", reason="needs playwright: pip install 'fastcall[dev]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: on Debian, apt-get install chromium"),
    pytest.mark.asyncio(loop_scope="module"),  # the browser's
]

PATIENCE_MS = PATIENCE_S * 1000
# The first sentences of the bundled call, and silence before them, in which the page connects.
LEAD_S, SPEECH_S = 2.0, 6.0
SENTENCES = ["hello i would like to book a table", "there will be four people"]
TONES = ["apple arrow", "autumn"]
ADMIN = "an-admin-token-of-some-length"


# --- the other sides ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def has_words() -> bool:
    """Whether there is an engine that knows words; else the caller speaks in test tones."""
    return importlib.util.find_spec("pocketsphinx") is not None


@pytest.fixture(scope="module")
def recognizer(has_words: bool) -> Iterator[str]:
    grammar = str(resources.files("fastcall") / "data" / "booking.gram")
    engine = ["--engine", "pocketsphinx", "--grammar", grammar] if has_words else ["--engine", "tones"]
    process = Process(["emulator", *engine, "--port", "0"], ready=r"emulator listening on (\S+)")
    yield process.ready[1]
    process.stop()


@pytest.fixture(scope="module")
def microphone(has_words: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser takes for a microphone: LINEAR16 in a WAV file, again and again."""
    if has_words:
        mulaw = read_wav((resources.files("fastcall") / "data" / "booking.wav").read_bytes())[: int(8000 * SPEECH_S)]
    else:
        mulaw = b"".join(tones(f"[300] {text} [1200]") for text in TONES)
    path: Path = tmp_path_factory.mktemp("microphone") / "caller.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(int(16_000 * LEAD_S)) + g711.ulaw2lin(mulaw, 2) + bytes(16_000))
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(microphone: Path) -> AsyncIterator[Any]:
    """One for all tests; each has a profile of its own in it."""
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options.append(f"--use-file-for-fake-audio-capture={microphone}")
    async with playwright.async_playwright() as library:
        started = await library.chromium.launch(executable_path=CHROMIUM, args=options)
        try:
            yield started
        finally:
            await started.close()


@asynccontextmanager
async def browsing(browser: Any, **options: Any) -> AsyncIterator[Any]:
    """A page in a browser; what goes wrong in it fails the test."""
    context = await browser.new_context(**{"permissions": ["microphone"], **options})
    try:
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        yield page
        assert [text for text in wrong if "401" not in text] == []
    finally:
        await context.close()


def address(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}/console/"


async def until(page: Any, condition: str) -> None:
    """Wait until it is so in the page. Playwright's own way needs ``eval``, which the page's policy forbids."""
    async with asyncio.timeout(PATIENCE_S):
        await page.evaluate(f"async () => {{ while (!({condition})) await new Promise((r) => setTimeout(r, 20)); }}")


# --- a call ---------------------------------------------------------------------------------------------------------

HEAR = """async () => {
  // The loudest frequency of what goes to the loudspeaker, once there is any.
  const { analyser, audio } = window.fastcall.talk.phone;
  analyser.fftSize = 2048;
  const bins = new Float32Array(analyser.frequencyBinCount);
  for (;;) {
    analyser.getFloatFrequencyData(bins);
    const loudest = bins.indexOf(Math.max(...bins));
    if (bins[loudest] > -40) return (loudest * audio.sampleRate) / analyser.fftSize;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}"""


def shape(value: Any) -> Any:
    """A message without its values: names, and types of what they have."""
    return {key: shape(each) for key, each in value.items()} if isinstance(value, dict) else type(value).__name__


async def test_a_page_talks_with_the_server_as_a_telephone(has_words: bool, recognizer: str, browser: Any) -> None:
    sentences = SENTENCES if has_words else TONES
    async with serving(recognizer, handler="tone_talker:answer_once") as served, browsing(browser) as page:
        sent: list[str] = []

        def keep(text: str) -> None:
            sent.append(text)

        page.on("websocket", lambda socket: socket.on("framesent", keep))
        await page.goto(address(served))
        await page.get_by_role("button", name="Talk", exact=True).last.click()
        await playwright.expect(page.get_by_text("You are on the line.")).to_be_visible(timeout=PATIENCE_MS)
        heard_hz = await page.evaluate(HEAR)
        assert abs(heard_hz - TONE_HZ) < 40
        texts = page.locator("#transcript .entry.utterance[data-state=committed] .entry-text")
        for sentence in sentences:
            # A browser that the machine keeps waiting drops audio: its microphone says it all again, round and round.
            await texts.get_by_text(sentence, exact=True).first.wait_for(timeout=3 * PATIENCE_MS)
        await until(page, "(({ marks, echoed }) => marks && marks === echoed)(window.fastcall.talk.phone.stats)")
        stats, player = await page.evaluate("(({stats, player}) => [stats, player])(window.fastcall.talk.phone)")
        assert (stats["refused"], stats["unsent"], player["dropped"]) == ([], 0, 0)
        await page.locator("#keypad").get_by_role("button", name="7").click()
        await until(page, "window.fastcall.model.calls.values().next().value.batches.items.length > 5")
        await page.get_by_role("button", name="Hang up").first.click()
        call_sid = await page.evaluate("window.fastcall.talk.phone.callSid")
        await served.transcripts.wait_for(call_sid, "call_ended")
        await page.locator("#call-list [data-state=ended]").wait_for()
        spans = await page.evaluate("window.fastcall.model.calls.values().next().value.spans.items")
    check_messages(sent, marks=stats["marks"])
    assert served.server.metrics.rejected_messages == {}
    here = [span for span in spans if span["isLocal"]]
    assert here[0]["end"] - here[0]["start"] >= TONE_MS / 2  # a browser that the machine keeps waiting drops audio


def check_messages(sent: list[str], *, marks: int) -> None:
    """To the field what a telephone sends, at the pace of its audio."""
    messages = [json.loads(text) for text in sent]
    events = [message["event"] for message in messages]
    assert events[:3] == ["connected", "start", "media"]
    assert (events.count("dtmf"), events.count("mark"), events.count("stop"), events[-1]) == (1, marks, 1, "stop")
    like = CallerMessages(CallIds.derive("like", 0))
    model = {each["event"]: each for each in map(json.loads, (like.connected(), like.start({"From": "console"})))}
    model |= {each["event"]: each for each in map(json.loads, (like.media(0, ""), like.dtmf("7"), like.mark("m")))}
    model["stop"] = json.loads(like.stop())
    for message, text in zip(messages, sent, strict=True):
        assert shape(message) == shape(model[message["event"]])
        assert type(parse_message(text.encode())).__name__ not in ("Rejected", "NoneType")
    assert [int(each["sequenceNumber"]) for each in messages[1:]] == list(range(1, len(messages)))
    media = [message["media"] for message in messages if message["event"] == "media"]
    assert {len(base64.b64decode(each["payload"])) for each in media} == {160}
    assert [int(each["timestamp"]) for each in media] == [20 * number for number in range(len(media))]
    assert next(message["dtmf"]["digit"] for message in messages if message["event"] == "dtmf") == "7"


async def test_a_mark_comes_back_when_its_audio_was_played_or_cleared(prompt_emulator: str, browser: Any) -> None:
    """The page speaks with a server that the test plays."""
    async with serving(prompt_emulator) as served, browsing(browser) as page:
        loop = asyncio.get_running_loop()
        sockets: asyncio.Queue[Any] = asyncio.Queue()
        started: asyncio.Queue[str] = asyncio.Queue()
        marks: asyncio.Queue[tuple[str, float]] = asyncio.Queue()

        def take(text: str) -> None:
            message = json.loads(text)
            if message["event"] == "start":
                started.put_nowait(message["streamSid"])
            elif message["event"] == "mark":
                marks.put_nowait((message["mark"]["name"], loop.time()))

        def open_socket(socket: Any) -> None:
            socket.on_message(take)
            sockets.put_nowait(socket)

        await page.route_web_socket(re.compile("/media"), open_socket)
        await page.goto(address(served))
        await page.get_by_role("button", name="Talk", exact=True).last.click()
        async with asyncio.timeout(PATIENCE_S):
            socket, stream_sid = await sockets.get(), await started.get()
            socket.send(mark_message(stream_sid, "nothing waits"))
            assert (await marks.get())[0] == "nothing waits"
            began = loop.time()
            for _ in range(3):
                socket.send(media_message(stream_sid, tone(200)))
            socket.send(mark_message(stream_sid, "played"))
            name, at = await marks.get()
            assert name == "played"
            assert at - began >= 0.6
            socket.send(media_message(stream_sid, tone(60_000)))
            for name in ("cut", "cut too"):
                socket.send(mark_message(stream_sid, name))
            await page.evaluate(HEAR)
            socket.send(clear_message(stream_sid))
            assert [(await marks.get())[0] for _ in range(2)] == ["cut", "cut too"]
            assert marks.empty()
            await until(page, "window.fastcall.talk.phone.player.queued === 0")
            for wrong in ('{"event": "mark"}', "no JSON", clear_message("MZ-other")):
                socket.send(wrong)
            await until(page, "window.fastcall.talk.phone.stats.refused.length === 3")
            await socket.close(code=1008, reason="enough")
            await page.get_by_text("The server closed the call: enough").wait_for()


# --- what the page is made of ---------------------------------------------------------------------------------------


async def test_the_page_codes_as_the_server_does(prompt_emulator: str, browser: Any) -> None:
    async with serving(prompt_emulator) as served, browsing(browser) as page:
        await page.goto(address(served))
        encoded, decoded = await page.evaluate(
            """async () => {
              const { encodeSample, decodeSample } = await import("./g711.js");
              const all = (count, first, work) => Array.from({ length: count }, (_, index) => work(first + index));
              return [all(65536, -32768, encodeSample), all(256, 0, decodeSample)];
            }"""
        )
    samples = array("h", range(-32768, 32768)).tobytes()
    assert bytes(encoded) == g711.lin2ulaw(samples, 2)
    assert array("h", decoded).tobytes() == g711.ulaw2lin(bytes(range(256)), 2)


RESAMPLE = """async ([from, to, hz, seconds]) => {
  const { Resampler } = await import("./resample.js");
  const resampler = new Resampler(from, to);
  const out = [];
  const block = new Float32Array(128);
  for (let at = 0; at < from * seconds; at += block.length) {
    for (let i = 0; i < block.length; i++) block[i] = Math.sin((2 * Math.PI * hz * (at + i)) / from);
    resampler.push(block, (sample) => out.push(sample));
  }
  return out;
}"""


def level_db(samples: list[float], hz: float, rate: int) -> float:
    """Of the tone at ``hz`` in the middle of the samples, below one of full scale."""
    part = samples[len(samples) // 4 : -len(samples) // 4]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * index / len(part)) for index in range(len(part))]
    turns = [2 * math.pi * hz * index / rate for index in range(len(part))]
    real, imaginary = (
        sum(w * s * f(t) for w, s, t in zip(window, part, turns, strict=True)) for f in (math.cos, math.sin)
    )
    return 20 * math.log10(max(1e-9, 2 * math.hypot(real, imaginary) / sum(window)))


async def test_the_page_resamples_without_aliases_or_drift(prompt_emulator: str, browser: Any) -> None:
    async with serving(prompt_emulator) as served, browsing(browser) as page:
        await page.goto(address(served))
        resample = functools.partial(page.evaluate, RESAMPLE)
        for rate in (48_000, 44_100, 16_000):
            for hz in (300, 1000, 3300):
                assert abs(level_db(await resample([rate, 8000, hz, 0.3]), hz, 8000)) < 0.1, (rate, hz)
            for hz, alias in ((4100, 3900), (5000, 3000), (7900, 100)):
                assert level_db(await resample([rate, 8000, hz, 0.3]), alias, 8000) < -75, (rate, hz)
        count = await page.evaluate(f"async (given) => (await ({RESAMPLE})(given)).length", [44_100, 8000, 1000, 20])
        assert abs(count - 160_000) < 100
        answer = await resample([8000, 48_000, 1000, 0.2])
        assert abs(level_db(answer, 1000, 48_000)) < 0.1
        assert level_db(answer, 7000, 48_000) < -75


# --- who may --------------------------------------------------------------------------------------------------------


async def test_the_page_asks_for_the_token_and_keeps_it_in_its_tab(prompt_emulator: str, browser: Any) -> None:
    guarded = {"twilio_auth_token": "x", "public_url": "https://voice.example.com", "admin_token": ADMIN}
    async with serving(prompt_emulator, **guarded) as served, browsing(browser) as page:
        await page.goto(address(served))
        dialog = page.get_by_role("dialog", name="Who is there?")
        await dialog.get_by_label("Token").fill("wrong")
        await dialog.get_by_role("button", name="Enter").click()
        await dialog.get_by_text("That is not the token").wait_for()
        await dialog.get_by_label("Token").fill(ADMIN)
        await page.keyboard.press("Enter")
        await page.locator("#link[data-state=live]").wait_for()
        assert await page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
        await page.get_by_role("button", name="Talk", exact=True).last.click()  # by a ticket, without a signature
        await playwright.expect(page.get_by_text("You are on the line.")).to_be_visible(timeout=PATIENCE_MS)
        await page.get_by_role("button", name="Forget token").click()
        await dialog.wait_for()


# --- how it looks ---------------------------------------------------------------------------------------------------

TELL = """([event, more]) => window.fastcall.model.take(
  { event, call_sid: "CA1", stream_sid: "MZ1", utterance_id: null, text: null, start_ms: null, end_ms: null,
    source: null, at: Date.now() / 1000, ...more })"""


async def test_amendments_are_marked_and_unknown_events_are_shown(prompt_emulator: str, browser: Any) -> None:
    async with serving(prompt_emulator) as served, browsing(browser) as page:
        await page.goto(address(served))
        tell = functools.partial(page.evaluate, TELL)
        said = {"utterance_id": 1, "start_ms": 0, "end_ms": 900}
        hostile = "<img src=x onerror=alert(1)> table"
        await tell(["call_started", {}])
        await tell(["utterance_begin", said])
        await tell(["partial", {**said, "text": "book a"}])
        entry = page.locator("#transcript .entry.utterance")
        await playwright.expect(entry.locator(".badge")).to_have_text("partial")
        await tell(["utterance_end", {**said, "text": "look a table", "turn_end": "background"}])
        await playwright.expect(entry.locator(".turn-parts")).to_have_text("silence, with others in the background")
        await playwright.expect(page.locator("#spoken")).to_have_text("look a table")
        await tell(["amended", {**said, "text": f"book a {hostile}"}])
        await playwright.expect(entry.locator(".badge")).to_have_text("amended")
        await playwright.expect(entry.locator("del")).to_have_text("look")
        await playwright.expect(entry.locator("ins").first).to_have_text("book")
        assert await page.locator("#transcript img").count() == 0
        await tell(["a_new_thing", {"text": "it happened"}])
        await page.get_by_text("a new thing: it happened").wait_for()
        speech = {"text": "With pleasure. For how many?", "speech_id": 1, "start_ms": 1000}
        await tell(["agent_audio", {**speech, "state": "begin"}])
        badge = page.locator(".entry.agent .badge")
        await tell(
            ["agent_audio", {**speech, "state": "paused", "end_ms": 1400, "heard_text": "With", "heard_ms": 400}]
        )
        await playwright.expect(badge).to_have_text("paused")
        await playwright.expect(page.locator(".entry.agent .unheard")).to_have_text(" pleasure. For how many?")
        await tell(["agent_audio", {**speech, "state": "resumed", "end_ms": 1500}])
        await playwright.expect(badge).to_have_text("")
        await page.get_by_text("No interruption after all: the agent goes on").wait_for()
        await tell(["agent_audio", {"text": "Very well.", "speech_id": 2, "state": "held"}])
        await page.get_by_text("The agent waits for the end of the caller's turn to say: Very well.").wait_for()
        await tell(["not_interrupted", {"utterance_id": 1, "reason": "backchannel"}])
        await page.get_by_text("The caller is heard, and the agent goes on: a backchannel").wait_for()
        parts = {"endpointing_ms": 520, "commit_ms": 210, "agent_ms": 60, "first_audio_ms": 30}
        await tell(["first_response", {"utterance_id": 1, "total_ms": 820, **parts}])
        await page.get_by_text("endpointing 520 · commit 210 · agent 60 · first audio 30").wait_for()
        await tell(["barge_in", {"text": "With pleasure.", "heard_ms": 900, "after_ms": 130}])
        await tell(
            ["agent_audio", {**speech, "state": "cut", "end_ms": 2000, "heard_text": "With pleasure.", "heard_ms": 900}]
        )
        await playwright.expect(page.locator(".entry.agent .unheard")).to_have_text(" For how many?")
        spans = await page.evaluate("window.fastcall.model.calls.get('MZ1').spans.items")
        assert [(span["start"], span.get("cutAt"), span["end"]) for span in spans] == [
            (1000, None, 1400),
            (1500, 2000, 2000),
        ]
        await tell(["call_ended", {}])
        await page.locator("#call[data-state=ended]").wait_for()


async def test_two_streams_of_a_call_are_two_rows_and_one_that_moves_stays_one(
    prompt_emulator: str, browser: Any
) -> None:
    async with serving(prompt_emulator) as served, browsing(browser) as page:
        await page.goto(address(served))
        await page.locator("#link[data-state=live]").wait_for()
        main, fork, again = (Phone(served.url, ids=CallIds("CA1", sid)) for sid in ("MZ1", "MZ2", "MZ3"))
        async with main, fork, again:
            for phone, name, word in ((main, "", "apple"), (fork, "monitor", "arrow")):
                await phone.start({"fastcall_stream": name})
                await phone.say(tones(f"[300] {word} [700]"))
                await served.transcripts.wait_for(phone.stream_sid, "utterance_end")
            rows = page.locator("#call-list .call-row")
            await playwright.expect(rows).to_have_count(2)
            for row, word in ((rows.filter(has_text="monitor"), "arrow"), (rows.filter(has_text="apple"), "apple")):
                await row.click()
                texts = page.locator("#transcript .entry.utterance .entry-text")
                await playwright.expect(texts).to_have_text(word)
            await again.start({"fastcall_stream": "monitor"})
            await again.say(tones("[100]"))
            await fork.stop()
            await again.say(tones("[300] autumn [700]"))
            await until(page, "window.fastcall.model.calls.get('MZ2').snippet === 'autumn'")
            await again.stop()
            await until(page, "!window.fastcall.model.calls.get('MZ2').isLive")
            assert await page.evaluate("window.fastcall.model.calls.get('MZ1').isLive")
            assert await page.evaluate("[...window.fastcall.model.calls.keys()]") == ["MZ1", "MZ2"]


CONTRAST = """() => {
  const probe = document.getElementById("colour-probe");
  const luminance = (name) => {
    probe.style.color = `var(--${name})`;
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pairs = ["ink panel", "ink ground", "muted panel", "muted ground", "muted raised", "caller panel",
    "agent panel", "warm panel", "alarm panel", "ink caller-soft", "ink agent-soft", "on-primary caller", "panel ink"];
  return pairs.map((pair) => {
    const [high, low] = pair.split(" ").map(luminance).sort((a, b) => b - a);
    return [pair, (high + 0.05) / (low + 0.05)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_is_read_in_both_schemes_at_any_width_and_by_keyboard(
    scheme: str, prompt_emulator: str, browser: Any
) -> None:
    async with serving(prompt_emulator) as served, browsing(browser, color_scheme=scheme) as page:
        await page.goto(address(served))
        await page.evaluate(TELL, ["partial", {"utterance_id": 1, "text": "word " * 60, "start_ms": 0}])
        await page.locator("#transcript .entry").wait_for()
        # WCAG 2.2, 1.4.3: 4.5 to 1 for text.
        assert {pair: ratio for pair, ratio in await page.evaluate(CONTRAST) if ratio < 4.5} == {}
        for width in (320, 390, 720, 900, 1180, 1440):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await page.keyboard.press("Tab")
        await playwright.expect(page.get_by_role("link", name="Skip to the call")).to_be_focused()
        unnamed = "[...document.querySelectorAll('button, input')].filter((each) => !each.textContent.trim() && "
        unnamed += "!each.ariaLabel && !each.labels?.length).length"
        assert await page.evaluate(unnamed) == 0
        roles = [page.get_by_role("region", name=name, exact=True) for name in ("Calls", "Talk", "Numbers")]
        for landmark in (page.get_by_role("main"), page.get_by_role("banner"), *roles):
            assert await landmark.count() == 1
        before = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        button = page.get_by_role("button", name="Colours")
        for _ in range(3 if scheme == "light" else 1):
            await button.press("Enter")
            if await page.evaluate("getComputedStyle(document.body).backgroundColor") != before:
                break
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != before


# Of each kind; the longest ring keeps 4000, and at times a quarter more.
EVENTS = amount(6_000, thorough=20_000)


async def test_hours_do_not_fill_the_page(prompt_emulator: str, browser: Any) -> None:
    async with serving(prompt_emulator) as served, browsing(browser) as page:
        await page.goto(address(served))
        sizes = await page.evaluate(
            """async (events) => {
              const { model } = window.fastcall;
              const at = Date.now() / 1000;
              const event = (call_sid, name, more) =>
                model.take({ event: name, call_sid, stream_sid: call_sid, at, text: "words", ...more });
              for (let n = 0; n < 3000; n++) event(`CA-many-${n}`, n % 2 ? "call_ended" : "call_started", {});
              for (let n = 0; n < events; n++) {
                event("CA-long", "utterance_end", { utterance_id: n, start_ms: n, end_ms: n + 1 });
                event("CA-long", "session_rotated", {});
                event("CA-long", "agent_audio", { start_ms: n, end_ms: n + 1 });
                model.takeBatch({ event: "batch", stream_sid: "CA-long", start_ms: n, end_ms: n + 1, at });
              }
              window.fastcall.choose("CA-long");
              await new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), 300));
              const { entries, spans, marks, batches, utterances } = model.calls.get("CA-long");
              const rings = [entries, spans, marks, batches].map((ring) => ring.items.length / ring.limit);
              const elements = document.querySelectorAll("*").length;
              return { calls: model.calls.size, rings, utterances: utterances.size, elements };
            }""",
            EVENTS,
        )
    assert sizes["calls"] <= 401
    assert max(sizes["rings"]) <= 1.25
    assert sizes["utterances"] <= 300
    assert sizes["elements"] < 5000
