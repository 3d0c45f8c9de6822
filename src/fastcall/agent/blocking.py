"""The call API for handlers that are plain functions: each runs in its own thread and may block.

Every method runs on the event loop and waits for the result. A thread cannot be ended from outside: a handler that
never returns leaks its thread, and nothing else.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from fastcall.agent.call import Call
from fastcall.agent.heard_text import Heard
from fastcall.agent.outbound import Encoding
from fastcall.agent.player import Speech
from fastcall.events import SAMPLE_RATE_HZ, CallEvent, MachineReason, Utterance
from fastcall.turns.completeness import Kind

__all__ = ["BlockingCall", "BlockingSpeech", "run_in_thread"]

T = TypeVar("T")

# Each takes a thread for its call's duration; async handlers have no such limit.
MAX_THREADS = 256

_running = threading.BoundedSemaphore(MAX_THREADS)


class BlockingSpeech:
    """The speech of one ``say``. Any thread."""

    def __init__(self, call: BlockingCall, speech: Speech) -> None:
        self._call = call
        self._speech = speech

    def wait(self) -> Heard:
        """Wait until it was played or interrupted; return what was heard of it."""

        async def wait() -> Heard:
            return await self._speech

        return self._call.wait_for(wait())


class BlockingCall:
    """``Call`` for a thread. Any thread but the event loop's; see ``Call`` for the methods."""

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop
        self.call_sid = call.call_sid
        self.stream_sid = call.stream_sid
        self.parameters: Mapping[str, str] = call.parameters
        self.state = call.state

    @property
    def machine_detected(self) -> MachineReason | None:
        """Why a machine seems to have answered; None: nothing shows that one has."""
        return self._call.machine_detected

    @property
    def beep_heard(self) -> bool:
        """Whether that machine has beeped."""
        return self._call.beep_heard

    def utterances(self) -> Iterator[Utterance]:
        """Iterate over committed utterances, each with words, until the call ends. Late words make another one, or
        one with ``is_correction``: see ``Call.utterances``."""
        return self._iterate(self._call.utterances())

    def keys(self) -> Iterator[str]:
        """Iterate over pressed keys."""
        return self._iterate(self._call.keys())

    def events(self) -> Iterator[CallEvent]:
        """Iterate over all events from now on."""
        return self._iterate(self._ask(self._call.events))

    def say(
        self,
        audio: bytes | Iterable[bytes],
        *,
        text: str = "",
        encoding: Encoding = "mulaw",
        rate_hz: int = SAMPLE_RATE_HZ,
        word_ends_ms: list[float] | None = None,
        interruptible: bool = True,
    ) -> BlockingSpeech:
        """Queue audio to be played: bytes, or an iterator, which is read in this thread until it ends or the speech is
        interrupted. Exceptions of the iterator are raised here; audio before them is played."""
        options: dict[str, Any] = {
            "text": text, "encoding": encoding, "rate_hz": rate_hz, "word_ends_ms": word_ends_ms,
            "interruptible": interruptible,
        }  # fmt: skip
        if isinstance(audio, bytes | bytearray | memoryview):
            data = bytes(audio)
            return BlockingSpeech(self, self._ask(lambda: self._call.say(data, **options)))
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        speech = self._ask(lambda: self._call.say(_from_queue(pieces), **options))
        try:
            for piece in audio:
                if speech.is_done:
                    break
                self.wait_for(_put(pieces, piece, speech))
        except BaseException:
            speech.is_broken = True  # set before the audio ends, below
            raise
        finally:
            self.wait_for(_put(pieces, None, speech))
        return BlockingSpeech(self, speech)

    def expect(self, kind: Kind | None, *, length: int | None = None, choices: Sequence[str] = ()) -> None:
        """Tell what the caller is likely to say next."""
        self._ask(lambda: self._call.expect(kind, length=length, choices=choices))

    def keep_audio(self, seconds: float) -> None:
        """Keep the caller's newest audio."""
        self._ask(lambda: self._call.keep_audio(seconds))

    def audio(self, start_ms: int, end_ms: int) -> bytes:
        """The caller's audio, as LINEAR16, 8 kHz mono."""
        return self._ask(lambda: self._call.audio(start_ms, end_ms))

    def mark(self, name: str) -> None:
        """Ask for ``MarkPlayed`` when the audio queued so far was played."""
        self._ask(lambda: self._call.mark(name))

    def clear(self) -> Heard:
        """Drop audio that was not yet played; return what was heard."""

        async def clear() -> Heard:
            return await self._call.clear()

        return self.wait_for(clear())

    def hangup(self) -> None:
        """Close the stream now."""
        self._ask(self._call.hangup)

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the call's loop and return its result.

        :raises RuntimeError: the loop is closed
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise
        return future.result()

    def _iterate(self, events: AsyncIterator[T]) -> Iterator[T]:
        while True:
            event = self.wait_for(_next(events))
            if event is None:
                return
            yield event

    def _ask(self, function: Callable[[], T]) -> T:
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                answer.set_result(function())
            except BaseException as error:  # re-raised in the calling thread
                answer.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return answer.result()


async def run_in_thread(function: Callable[[BlockingCall], None], call: Call) -> None:
    """Run a plain handler in its own thread; return when it has returned.

    :raises RuntimeError: 256 run already, or the system cannot start another thread
    :raises Exception: what it raised
    """
    if not _running.acquire(blocking=False):
        raise RuntimeError(f"{MAX_THREADS} handlers run in threads already; `async def` handlers have no such limit")
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        error: BaseException | None = None
        try:
            function(BlockingCall(call, loop))
        except BaseException as caught:  # re-raised where the thread is awaited
            error = caught
        finally:
            _running.release()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, done, error)

    # A thread that blocks forever must not keep the process from exiting.
    thread = threading.Thread(target=run, name=f"fastcall-handler-{call.call_sid[:10]}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the system has no more
        _running.release()
        raise
    await done


def _settle(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))


async def _next(events: AsyncIterator[T]) -> T | None:
    return await anext(events, None)


async def _put(pieces: asyncio.Queue[bytes | None], piece: bytes | None, speech: Speech) -> None:
    """Wait for room in the buffer, or for the speech's end, whichever comes first."""
    room = asyncio.ensure_future(pieces.put(piece))
    over = asyncio.ensure_future(_wait(speech))
    await asyncio.wait((room, over), return_when=asyncio.FIRST_COMPLETED)
    for task in (room, over):
        task.cancel()


async def _wait(speech: Speech) -> Heard:
    return await speech


async def _from_queue(pieces: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while (piece := await pieces.get()) is not None:
        yield piece
