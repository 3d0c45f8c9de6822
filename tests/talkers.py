"""Handlers of calls, for tests of what handlers may do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator

from fastcall.agent.blocking import BlockingCall
from fastcall.agent.call import BeepHeard, Call, MachineDetected, MarkPlayed
from fastcall.agent.replies import Turn
from fastcall.audio.wav import write_wav
from fastcall.errors import BacklogError, UsageError

ended_calls: list[str] = []


async def talk_without_end(call: Call) -> None:
    """Queue as much as may wait, for ever. Audio is paced; marks are not, and their number is bounded."""
    while True:
        with contextlib.suppress(BacklogError):
            call.mark("x" * 1000)
            call.mark("y" * 1000)
        await asyncio.sleep(0.001)


async def fail(call: Call) -> None:
    """Raise, as a handler with a defect does."""
    raise RuntimeError(f"no answer for {call.call_sid}")


async def echo_texts(call: Call) -> None:
    """A mark for each utterance, named after its text."""
    async for utterance in call.utterances():
        call.mark(utterance.text)


async def reply_with_texts(call: Call) -> None:
    """The same, by ``answer``."""

    async def reply(turn: Turn) -> None:
        call.mark(turn.text)

    await call.answer(reply)


async def answer_at_length(call: Call) -> None:
    """Answers each utterance with ten seconds, and says whether the answer before was heard."""

    async def reply(turn: Turn) -> None:
        before = "first" if turn.interrupted is None else "cut" if not turn.interrupted.is_whole else "whole"
        call.say(SPEECH[:80_000], text=before)

    await call.answer(reply)


def echo_texts_from_a_thread(call: BlockingCall) -> None:
    """The same, in a thread."""
    for utterance in call.utterances():
        call.mark(utterance.text)


async def hang_up(call: Call) -> None:
    """End the call after its first utterance."""
    async for _ in call.utterances():
        call.hangup()
        return


async def hang(call: Call) -> None:
    """Never return; ``ended_calls`` tells when it was made to."""
    try:
        await asyncio.Event().wait()
    finally:
        ended_calls.append(call.call_sid)


def two_arguments(call: Call, other: object) -> None:
    """What ``--handler`` refuses."""


async def answer_each(call: Call) -> None:
    """Answers each utterance with a moment of audio."""
    async for _ in call.utterances():
        call.say(b"\xff" * 160)


SPEECH = bytes(range(256)) * 320
MP3 = b"ID3\x04\0\0\0\0\0\x23" + bytes(4000)


async def talk_on(call: Call) -> None:
    """Speaks ten seconds, and again after each utterance."""
    call.say(SPEECH)
    async for _ in call.utterances():
        call.say(SPEECH)


async def say_exactly(call: Call) -> None:
    """Says what the test compares to the byte."""
    await call.say(SPEECH[:5001])
    call.hangup()


def misbehave(call: BlockingCall) -> None:
    """What its parameter says, in a thread: one that blocks ends with the process."""
    kind = call.parameters["kind"]
    if kind == "raise":
        raise RuntimeError("a handler with a defect")
    if kind == "block":
        threading.Event().wait()


async def misbehave_async(call: Call) -> None:
    """What its parameter says, on the loop."""
    if call.parameters["kind"] == "raise":
        raise RuntimeError("a handler with a defect")
    await asyncio.Event().wait()


leaving: list[asyncio.Task[None]] = []


async def _leave_later() -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


def break_the_process_from_a_thread(call: BlockingCall) -> None:
    """What its parameter says, from a thread."""
    raise SystemExit(9) if call.parameters["kind"] == "exit" else KeyboardInterrupt


async def break_the_process(call: Call) -> None:
    """What its parameter says, to the process that it runs in; without one it does nothing."""
    kind = call.parameters.get("kind", "")
    if kind == "spin":
        while True:
            pass
    elif kind == "stand":
        threading.Event().wait()  # the loop, and with it all of its calls
    elif kind == "exit":
        raise SystemExit(7)
    elif kind == "interrupt":
        raise KeyboardInterrupt
    elif kind == "task":
        leaving.append(asyncio.create_task(_leave_later()))
        await asyncio.wait(leaving)
    elif kind == "callback":
        asyncio.get_running_loop().call_soon(sys.exit, 8)
    elif kind == "swallow":
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    elif kind == "thread":
        await asyncio.to_thread(threading.Event().wait)
    elif kind == "fork" and os.fork() == 0:
        threading.Event().wait()  # as a pool of processes would, with all that it has inherited
    elif kind == "list":
        os.system("ls -l /proc/self/fd | sed 's/^/has /'")  # noqa: ASYNC221 - as handlers do
    elif kind == "junk":
        for number in range(3, 100):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as each:
                if (each.family, each.type) == (socket.AF_UNIX, socket.SOCK_STREAM):
                    each.send(b"no JSON at all\n")


async def keep_the_loop(call: Call) -> None:
    """What no handler may: now and then nobody else gets the loop."""
    while True:
        await asyncio.sleep(0.3)
        until = time.monotonic() + 0.06
        while time.monotonic() < until:
            pass


async def think(call: Call) -> None:
    """Takes 0.3 s for an answer."""

    async def reply(turn: Turn) -> None:
        await asyncio.sleep(0.3)
        call.say(SPEECH[:1600], text=turn.text)

    await call.answer(reply)


async def clear_what_waits(call: Call) -> None:
    """Marks before, behind and in the middle of more than is sent ahead, all cleared; tells those that passed."""
    events = call.events()
    for name in ("before", "between"):
        call.mark(name)
        call.say(SPEECH[:40000])
    call.mark("behind")
    heard = await call.clear()
    passed = []
    async for event in events:
        if isinstance(event, MarkPlayed):
            passed.append(event.name)
            if event.name == "behind":
                break
    call.mark(" ".join(["whole" if heard.is_whole else "cut", *passed]))


async def say_files(call: Call) -> None:
    """Says nothing, a WAV file in pieces, and an MP3 file as bytes and in pieces; tells what comes of each."""

    async def pieces(data: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(data), 50):
            yield data[at : at + 50]

    told = []
    for audio in (b"", pieces(write_wav(SPEECH[:5001])), pieces(MP3)):
        told.append("whole" if (await call.say(audio, encoding="pcm")).is_whole else "cut")
    try:
        call.say(MP3)
    except UsageError as error:
        told.append(str(error))
    call.mark(", ".join(told))


async def speak_then_tell(call: Call) -> None:
    """Speaks four seconds with a mark after the first 20 ms and one at the end; tells the marks that passed, and the
    stream of then, as the name of another."""
    passed = []
    events = call.events()
    call.say(SPEECH[:160])
    call.mark("first")
    call.say(SPEECH[:32000])
    call.mark("done")
    async for event in events:
        if isinstance(event, MarkPlayed):
            passed.append(event.name)
            if event.name == "done":
                break
    call.mark(" ".join(["told", call.stream_sid, *passed]))


async def tell_of_machines(call: Call) -> None:
    """A mark for what shows that a machine has answered, and one for its beep."""
    call.mark(f"at first {call.machine_detected}")
    async for event in call.events():
        if isinstance(event, MachineDetected):
            call.mark(event.reason)
        elif isinstance(event, BeepHeard):
            call.mark(f"{call.machine_detected} beeps")
