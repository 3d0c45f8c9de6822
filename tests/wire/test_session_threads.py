"""The facade for threaded code, and the dispatcher on it, against a real recognizer."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

import pytest

from fastcall import StreamingSTTSession, UtteranceDispatcher
from fastcall._codec import Debouncer
from fastcall.aio.callbacks import MAX_THREADS
from fastcall.audio.tones import synthesize
from fastcall.errors import ClosedError
from fastcall.events import SessionFailed
from fastcall.settings import Settings
from pacing import PacedDebouncer
from peers import PATIENCE_S, start_emulator, way, words_of_call

FRAME_BYTES = 320


def settings_for(address: str) -> Settings:
    return Settings(speech_emulator_host=address, language="en-US", **way())


def threads_by_name() -> Counter[str]:
    return Counter(thread.name if thread.name.startswith("fastcall-") else "other" for thread in threading.enumerate())


def paced(session: StreamingSTTSession) -> PacedDebouncer:
    """The session's debouncer, which keeps from now on when it lets a text out."""
    partials = session._session._partials
    made = PacedDebouncer(partials._debouncer)
    partials._debouncer = cast(Debouncer, made)
    return made


class Callbacks:
    """Keeps what a session calls back, and on which thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.partials: list[str] = []
        self.finals: queue.Queue[str] = queue.Queue()
        self.threads: set[int] = set()
        self._one_at_a_time = threading.Lock()
        self.overlapped = False

    def on_partial(self, text: str) -> None:
        with self._called(), self._changed:
            self.partials.append(text)
            self._changed.notify()

    def wait_for_partial(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.partials[-1:] == [text], PATIENCE_S)

    def on_final(self, text: str) -> None:
        with self._called():
            self.finals.put(text)

    @contextmanager
    def _called(self) -> Iterator[None]:
        self.threads.add(threading.get_ident())
        alone = self._one_at_a_time.acquire(blocking=False)
        self.overlapped |= not alone
        try:
            yield
        finally:
            if alone:
                self._one_at_a_time.release()

    def final(self) -> str:
        return self.finals.get(timeout=PATIENCE_S)


def frames(pcm: bytes) -> list[bytes]:
    return [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm), FRAME_BYTES)]


def speak_together(sessions: list[StreamingSTTSession], audio: list[list[bytes]]) -> None:
    """At the pace of speech, from this thread."""
    begins_at = time.monotonic()
    for number, together in enumerate(zip(*audio, strict=True)):
        time.sleep(max(0.0, begins_at + 0.02 * number - time.monotonic()))
        for session, frame in zip(sessions, together, strict=True):
            session.push_audio(frame)


def speak(session: StreamingSTTSession, pcm: bytes) -> None:
    """The same for one session."""
    speak_together([session], [frames(pcm)])


def test_partials_and_finals_come_one_at_a_time_and_not_on_the_callers_thread(prompt_emulator: str) -> None:
    heard = Callbacks()
    with StreamingSTTSession(heard.on_partial, heard.on_final, settings=settings_for(prompt_emulator)) as session:
        pace = paced(session)
        speak(session, synthesize("[200] apple arrow autumn badge bamboo [900] basket beacon [900]"))
        assert [heard.final(), heard.final()] == ["apple arrow autumn badge bamboo", "basket beacon"]
        assert session.failure is None
        assert (
            session.call_samples
            == len(synthesize("[200] apple arrow autumn badge bamboo [900] basket beacon [900]")) // 2
        )
    assert not heard.overlapped
    assert threading.get_ident() not in heard.threads
    texts = heard.partials
    assert all(later != earlier for earlier, later in pairwise(texts))
    # The text since the last final, not the call's.
    assert texts[-1] == "basket beacon"
    assert len(pace.told_at) == len(texts)
    assert pace.shortest_gap_s >= 0.18


def test_close_brings_the_last_words_within_2_s(emulator: str) -> None:
    """The recognizer's finals are 0.9 s late; the last word has just been said."""
    heard = Callbacks()
    session = StreamingSTTSession(heard.on_partial, heard.on_final, settings=settings_for(emulator))
    speak(session, synthesize("[200] apple arrow autumn badge"))
    began = time.monotonic()
    session.close()
    took_s = time.monotonic() - began
    assert heard.finals.qsize() == 1, "the callback has to have run when close returns"
    assert heard.final() == "apple arrow autumn badge"
    assert took_s < PATIENCE_S


def test_close_does_not_wait_longer_for_a_recognizer_that_hangs() -> None:
    emulator = start_emulator("--final-delay-s", "0")
    heard = Callbacks()
    try:
        session = StreamingSTTSession(heard.on_partial, heard.on_final, settings=settings_for(emulator.ready[1]))
        speak(session, synthesize("[200] apple arrow autumn [100]"))
        heard.wait_for_partial("apple arrow autumn")
        emulator.send_signal(19)  # SIGSTOP: it neither answers nor breaks the connection
        began = time.monotonic()
        session.close()
        took_s = time.monotonic() - began
        assert took_s < PATIENCE_S
        assert heard.final() == "apple arrow autumn"  # the interim that no final came for
    finally:
        emulator.send_signal(18)
        emulator.stop()


def test_twenty_sessions_share_their_threads_and_keep_their_words_apart(prompt_emulator: str) -> None:
    before = threads_by_name()
    heard = [Callbacks() for _ in range(20)]
    sessions = [StreamingSTTSession(h.on_partial, h.on_final, settings=settings_for(prompt_emulator)) for h in heard]
    said = [words_of_call(number, 4) for number in range(20)]
    audio = [frames(synthesize(["[200]", *words, "[900]"])) for words in said]
    speak_together(sessions, audio)
    threads = threads_by_name()
    assert threads["fastcall-loop"] == 1
    # More than one where the machine is so busy that a callback waits, and never one a call.
    assert 1 <= threads["fastcall-callbacks"] <= MAX_THREADS < len(sessions)
    # gRPC has threads of its own, as many for one session as for twenty.
    assert threads["other"] - before["other"] <= 4
    assert [h.final() for h in heard] == [" ".join(words) for words in said]
    for session in sessions:
        session.close()
    assert not any(h.overlapped for h in heard)


def test_after_close_nothing_is_taken_and_closing_again_does_nothing(prompt_emulator: str) -> None:
    heard = Callbacks()
    session = StreamingSTTSession(heard.on_partial, heard.on_final, settings=settings_for(prompt_emulator))
    session.close()
    with pytest.raises(ClosedError, match="accepts no more audio"):
        session.push_audio(bytes(320))
    session.close()
    assert heard.finals.empty()


def test_half_a_sample_is_refused_and_the_session_goes_on(prompt_emulator: str) -> None:
    heard = Callbacks()
    with StreamingSTTSession(on_final=heard.on_final, settings=settings_for(prompt_emulator)) as session:
        with pytest.raises(ValueError, match="sample"):
            session.push_audio(b"\x00" * 321)
        session.push_audio(memoryview(bytearray(synthesize("[200] apple [300]"))))
    assert heard.final() == "apple"


def test_a_callback_that_raises_is_told_and_disturbs_no_other(
    prompt_emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(text: str) -> None:
        raise RuntimeError(f"cannot take {text}")

    heard = Callbacks()
    bad = StreamingSTTSession(fail, fail, settings=settings_for(prompt_emulator))
    good = StreamingSTTSession(heard.on_partial, heard.on_final, settings=settings_for(prompt_emulator))
    for session in (bad, good):
        session.push_audio(synthesize("[200] apple arrow [200]"))
        session.close()
    assert heard.final() == "apple arrow"
    told = [record for record in caplog.records if record.getMessage() == "a callback failed"]
    assert told
    assert all(record.levelno == logging.ERROR and record.exc_info for record in told)


def test_close_may_be_called_from_a_callback_and_from_many_threads(prompt_emulator: str) -> None:
    closed = threading.Event()
    sessions: list[StreamingSTTSession] = []

    def close(text: str) -> None:
        sessions[0].close()
        closed.set()

    sessions.append(StreamingSTTSession(on_final=close, settings=settings_for(prompt_emulator)))
    sessions[0].push_audio(synthesize("[200] apple [800]"))
    assert closed.wait(PATIENCE_S)

    session = StreamingSTTSession(settings=settings_for(prompt_emulator))
    closers = [threading.Thread(target=session.close) for _ in range(5)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(PATIENCE_S)
        assert not closer.is_alive()


def test_a_recognizer_that_is_down_is_told_and_closing_still_ends(caplog: pytest.LogCaptureFixture) -> None:
    session = StreamingSTTSession(settings=settings_for("127.0.0.1:1"))
    failed = threading.Event()
    session.add_listener(lambda event: failed.set() if isinstance(event, SessionFailed) else None)
    speak(session, bytes(320 * 20))
    # It may have failed before it had the listener, which it has by now.
    assert session.failure is not None or failed.wait(PATIENCE_S)
    assert session.failure is not None
    assert session.failure.code == "UNAVAILABLE"
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < PATIENCE_S
    told = [r.getMessage() for r in caplog.records if r.name.startswith("fastcall") and r.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "UNAVAILABLE" in told[0]


async def test_the_dispatcher_gives_each_utterance_its_own_words(emulator: str) -> None:
    """As the example does it: the voice detector is the caller's, the session threaded, the dispatcher on the loop."""
    session = await asyncio.to_thread(StreamingSTTSession, settings=settings_for(emulator))
    dispatcher = UtteranceDispatcher(session)
    shown: dict[int, list[str]] = {1: [], 2: []}
    texts = []
    for number, words in enumerate((["apple", "arrow", "autumn"], ["badge", "bamboo"]), 1):
        await asyncio.to_thread(speak, session, synthesize("[300]"))
        assert dispatcher.begin(shown[number].append) == number
        await asyncio.to_thread(speak, session, synthesize([*words, "[500]"]))
        began = time.monotonic()
        texts.append(await dispatcher.end(silence_ms=500))
        assert time.monotonic() - began < PATIENCE_S
    assert texts == ["apple arrow autumn", "badge bamboo"]
    assert shown[1][-1] == "apple arrow autumn"
    assert shown[2][-1] == "badge bamboo"
    assert await dispatcher.end() == ""
    await asyncio.to_thread(session.close)


async def test_a_late_final_that_differs_comes_as_an_amendment() -> None:
    """The commit wait is so short that nothing can be known in time."""
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "0.5", "--rewrite-rate", "0")
    amended: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
    try:
        session = await asyncio.to_thread(StreamingSTTSession, settings=settings_for(emulator.ready[1]))
        dispatcher = UtteranceDispatcher(
            session, commit_ms=0, on_amended=lambda utterance_id, text: amended.put_nowait((utterance_id, text))
        )
        await asyncio.to_thread(speak, session, synthesize("[300]"))
        dispatcher.begin()
        await asyncio.to_thread(speak, session, synthesize("apple arrow autumn")[:-2400])
        text = await dispatcher.end()
        assert text in ("apple", "apple arrow", "")
        await asyncio.to_thread(speak, session, synthesize("autumn [1000]")[800:])
        async with asyncio.timeout(PATIENCE_S):
            utterance_id, whole = await amended.get()
        assert utterance_id == 1
        assert whole.startswith("apple arrow")
        await asyncio.to_thread(session.close)
    finally:
        await asyncio.to_thread(emulator.stop)


def test_a_dispatcher_needs_no_event_loop(prompt_emulator: str) -> None:
    """As a Flask program has it; the times of the words are those of the session's audio."""
    amended: dict[int, str] = {}
    with StreamingSTTSession(settings=settings_for(prompt_emulator)) as session:
        dispatcher = UtteranceDispatcher(session, commit_ms=30_000, on_amended=amended.__setitem__)
        for said in ("apple arrow", "autumn badge"):
            partials: queue.SimpleQueue[str] = queue.SimpleQueue()
            dispatcher.begin(partials.put)
            session.push_audio(synthesize(f"[300] {said} [700]"))
            assert said.startswith(partials.get(timeout=PATIENCE_S))
            assert dispatcher.end(silence_ms=700).result(PATIENCE_S) == said
    assert amended == {}
