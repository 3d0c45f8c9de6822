"""Detects begin and end of utterances, from one voiced/unvoiced decision per 20 ms frame. Pure."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Final

__all__ = ["FRAME_S", "PREROLL_FRAMES", "Change", "Endpointer"]

FRAME_S: Final = 0.02
PREROLL_FRAMES: Final = 15  # passed to the recognizer from before the begin, for soft onsets
_START_VOICED, _START_WINDOW = 3, 5
_SETTLE_FRAMES: Final = 5  # the voice activity detector reports the first 100 ms of a stream as speech
_MAX_VOICED_SHARE: Final = 0.1


class Change(Enum):
    NONE = auto()
    BEGIN = auto()
    END = auto()


class Endpointer:
    """Call `step` once per frame."""

    def __init__(self, *, end_silence_s: float, max_utterance_s: float) -> None:
        self._window_frames = max(round(end_silence_s / FRAME_S), 1)
        self._max_frames = max(round(max_utterance_s / FRAME_S), 1)
        self._recent: deque[bool] = deque(maxlen=_START_WINDOW)
        self._window: deque[bool] = deque(maxlen=self._window_frames)
        self._frame = 0
        self._begin_frame = 0
        self.last_voiced_frame = 0
        self.in_speech = False

    def step(self, voiced: bool) -> Change:
        frame = self._frame
        self._frame += 1
        if frame < _SETTLE_FRAMES:
            return Change.NONE
        if not self.in_speech:
            self._recent.append(voiced)
            if sum(self._recent) < _START_VOICED:
                return Change.NONE
            self.in_speech = True
            self._begin_frame = self.last_voiced_frame = frame
            self._window.clear()
            return Change.BEGIN
        self._window.append(voiced)
        if voiced:
            self.last_voiced_frame = frame
        quiet = len(self._window) == self._window_frames and (
            sum(self._window) <= _MAX_VOICED_SHARE * self._window_frames
        )
        if not quiet and frame - self._begin_frame < self._max_frames:
            return Change.NONE
        self.in_speech = False
        self._recent.clear()
        return Change.END
