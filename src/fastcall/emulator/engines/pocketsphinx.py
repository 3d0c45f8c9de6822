"""The pocketsphinx engine: English speech, offline. Inaccurate without a grammar, good with one.

A voice activity detector cuts the stream into utterances; each goes through a worker process (see
`pocketsphinx_pool`), because PocketSphinx holds the GIL while it decodes.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

from fastcall.emulator.engines.base import (
    EngineEvent,
    Failed,
    Finished,
    Heard,
    SpeechBegan,
    SpeechEnded,
    UtteranceEnded,
)
from fastcall.emulator.engines.endpointer import FRAME_S, PREROLL_FRAMES, Change, Endpointer
from fastcall.emulator.engines.pocketsphinx_pool import Pool, Utterance, Words
from fastcall.emulator.engines.upsample import Upsampler
from fastcall.emulator.messages import StreamConfig, Word
from fastcall.emulator.options import Options
from fastcall.errors import UsageError

__all__ = ["PocketsphinxEngine", "PocketsphinxStream"]

log = logging.getLogger("fastcall.emulator")

_VAD_MODE = 2


class _Pending:
    """An utterance of the stream: its position, and its audio until its turn comes."""

    def __init__(self, start_s: float) -> None:
        self.start_s = start_s
        self.audio: list[NDArray[np.int16]] = []
        self.voice_s = self.speech_end_s = self.end_s = start_s
        self.is_cut = False
        self.job: Utterance | None = None


class PocketsphinxStream:
    """The engine's side of one stream. Utterances of one stream are recognized one after the other, in order."""

    def __init__(
        self, pool: Pool, config: StreamConfig, wish: dict[str, Any], options: Options,
        listener: Callable[[EngineEvent], None],
    ) -> None:  # fmt: skip
        rate = config.sample_rate_hertz
        self._pool = pool
        self._wish = wish
        self._listener: Callable[[EngineEvent], None] | None = listener
        self._vad = pocketsphinx.Vad(_VAD_MODE, rate, FRAME_S)
        self._endpointer = Endpointer(end_silence_s=options.end_silence_s, max_utterance_s=options.max_utterance_s)
        self._upsampler = Upsampler() if rate == 8000 else None
        self._min_speech_s = options.min_speech_s
        self._frame_samples = round(rate * FRAME_S)
        self._rest = np.zeros(0, dtype=np.int16)
        self._preroll: deque[NDArray[np.int16]] = deque(maxlen=PREROLL_FRAMES)
        self._frame = 0
        self._speaking: _Pending | None = None
        self._pending: deque[_Pending] = deque()
        self._finishing = False

    def feed(self, pcm: NDArray[np.int16]) -> None:
        audio = np.concatenate([self._rest, pcm])
        size = self._frame_samples
        whole = len(audio) // size * size
        self._rest = audio[whole:]
        if not whole:
            return
        wide = self._upsampler.process(audio[:whole]) if self._upsampler else audio[:whole]
        step = len(wide) // (whole // size)
        for index in range(whole // size):
            frame = audio[index * size : (index + 1) * size]
            self._step(frame.tobytes(), wide[index * step : (index + 1) * step])
        self._push_audio()

    def finish(self) -> None:
        self._finishing = True
        if self._speaking is not None:
            self._cut(self._frame)
        self._finish_if_done()

    def close(self) -> None:
        self._listener = None
        for pending in self._pending:
            if pending.job is not None:
                self._pool.drop(pending.job)
        self._pending.clear()
        self._speaking = None

    def _step(self, frame: bytes, wide: NDArray[np.int16]) -> None:
        change = self._endpointer.step(bool(self._vad.is_speech(frame)))
        self._frame += 1
        if self._speaking is not None:
            self._speaking.audio.append(wide)
        else:
            self._preroll.append(wide)
        if change is Change.BEGIN:
            self._begin()
        elif change is Change.END and self._speaking is not None:
            self._cut(self._frame)

    def _begin(self) -> None:
        start_s = (self._frame - len(self._preroll)) * FRAME_S
        self._speaking = _Pending(start_s)
        self._speaking.voice_s = (self._frame - 1) * FRAME_S
        self._speaking.audio.extend(self._preroll)
        self._preroll.clear()
        self._pending.append(self._speaking)
        self._emit(SpeechBegan((self._frame - 1) * FRAME_S))
        self._submit()

    def _cut(self, frame: int) -> None:
        speaking, self._speaking = self._speaking, None
        assert speaking is not None
        speaking.speech_end_s = (self._endpointer.last_voiced_frame + 1) * FRAME_S
        speaking.end_s = frame * FRAME_S
        speaking.is_cut = True
        self._emit(SpeechEnded(speaking.speech_end_s))
        self._send_audio(speaking)

    def _submit(self) -> None:
        """Submit the oldest utterance to the pool, unless it was submitted before."""
        if self._pending and self._pending[0].job is None:
            pending = self._pending[0]
            pending.job = self._pool.begin(self._wish, self._on_words, self._on_failure)
            self._send_audio(pending)

    def _push_audio(self) -> None:
        if self._speaking is not None:
            self._send_audio(self._speaking)

    def _send_audio(self, pending: _Pending) -> None:
        if pending.job is None:
            return
        if pending.audio:
            self._pool.audio(pending.job, np.concatenate(pending.audio))
            pending.audio.clear()
        if pending.is_cut:
            self._pool.end(pending.job)

    def _on_words(self, words: Words, settled: bool) -> None:
        if not self._pending:
            return
        pending = self._pending[0]
        said = tuple(Word(text, pending.start_s + start, pending.start_s + end) for text, start, end in words)
        last_voice_s = pending.speech_end_s if pending.is_cut else (self._endpointer.last_voiced_frame + 1) * FRAME_S
        if last_voice_s - pending.voice_s < self._min_speech_s:
            said = ()
        if not settled:
            self._emit(Heard(said))
            return
        self._pending.popleft()
        if said:
            self._emit(UtteranceEnded(said, pending.speech_end_s, pending.end_s))
        else:
            self._emit(Heard(()))
        self._submit()
        self._finish_if_done()

    def _on_failure(self, message: str, busy: bool) -> None:
        self._emit(Failed(message, busy))

    def _finish_if_done(self) -> None:
        if self._finishing and not self._pending:
            self._emit(Finished())

    def _emit(self, event: EngineEvent) -> None:
        if self._listener is not None:
            self._listener(event)


class PocketsphinxEngine:
    """Opens streams, and owns the pool."""

    sample_rates_hertz: tuple[int, ...] = (8000, 16000)

    def __init__(self, options: Options) -> None:
        self._options = options
        self._grammar: str | None = None
        if options.grammar is not None:
            try:
                self._grammar = Path(options.grammar).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"cannot read the grammar {options.grammar}: {error}") from error
        self.pool = Pool(options.workers or os.cpu_count() or 1, options.grammar)
        self._warned = False

    async def start(self) -> None:
        await self.pool.start()

    def open(self, config: StreamConfig, listener: Callable[[EngineEvent], None]) -> PocketsphinxStream:
        if self._grammar is None and not config.phrases and not self._warned:
            self._warned = True
            log.warning(
                "no grammar and no phrases: PocketSphinx' free English model is used, which gets most words of "
                "telephone speech wrong. Give --grammar FILE, or phrases in the request (speech_contexts)"
            )
        wish = {"grammar": self._grammar, "phrases": list(config.phrases)}
        return PocketsphinxStream(self.pool, config, wish, self._options, listener)

    async def stop(self) -> None:
        await self.pool.stop()
